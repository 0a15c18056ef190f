// Package docs holds the pages for readers who want to know more than the README says. Its
// tests check the repository's pages: the README's program runs, and every file that a page links
// to in this repository exists.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = ".."

// The rule: the README's quickstart compiles unchanged, runs with nothing but
// Go, and prints what it should.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := build(t, dir, readmeCode(t, "package main"))
	for range 2 { // the second time, the file exists
		run := exec.CommandContext(t.Context(), binary)
		run.Dir = dir
		output, err := run.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(output), "user:42 = Ann until ") {
			t.Errorf("the quickstart prints %q, %v", output, err)
		}
	}
}

// The rule: the README's session, rate limit and lock compile.
func TestShortRecipes(t *testing.T) {
	t.Parallel()
	build(t, t.TempDir(), `package main

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

func recipes(ctx context.Context, store *kv.Store, id, user string, report func(context.Context, *lease.Lease) error) (int64, bool, error) {
`+readmeCode(t, "// A session")+`
	return n, ran, err
}

func main() { recipes(context.Background(), nil, "", "", nil) }
`)
}

// readmeCode returns the Go code of the README that begins with a line.
func readmeCode(t *testing.T, line string) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(readme), "```go\n"+line)
	code, _, ended := strings.Cut(code, "```")
	if !found || !ended {
		t.Fatalf("the README has no Go code that begins with %q", line)
	}
	return line + code
}

// build compiles a program in dir, and returns the file of the result.
func build(t *testing.T, dir, program string) string {
	t.Helper()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program.exe")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	cmd.Dir = root
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the README's code does not compile: %v\n%s", err, output)
	}
	return binary
}

// The rule: every file that a page links to in this repository exists.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	pages := 0
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md", "*/*/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			pages++
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
					t.Errorf("%s links to %s: %v", file, m[1], err)
				}
			}
		}
	}
	if pages < 5 {
		t.Errorf("only %d pages were found", pages)
	}
}

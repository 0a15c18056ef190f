// Package docs holds the pages for readers who want to know more than the README says. Its
// tests check the repository's pages: the README's program runs, every file that a page links to in
// this repository exists, and the times that pages quote are those of figures.md.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	_, code, found := strings.Cut(page(t, "README.md"), "```go\n"+line)
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

// The rule: a page that says how long a Get or Put of a cloud provider takes says what the summary
// of docs/figures.md says.
func TestFiguresAreQuoted(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile(`(?m)^\| (?:dynamodb|firestore|aztables) (?:Get|Put)(?:-with-deadline)? \| sdk \| ([0-9.]+) \|`)
	var ratios []string
	for _, m := range row.FindAllStringSubmatch(page(t, "docs/figures.md"), -1) {
		ratios = append(ratios, m[1]) // all have two decimals and one digit before them, so they sort as text
	}
	if len(ratios) < 6 {
		t.Fatalf("the summary has only %d rows of a Get or Put of a cloud provider", len(ratios))
	}
	want := slices.Min(ratios) + " to " + slices.Max(ratios) + " times"
	for _, name := range []string{"README.md", "docs/coming-from.md"} {
		if got := regexp.MustCompile(`A Get or Put\b.* takes (\S+ to \S+ times)`).FindStringSubmatch(page(t, name)); got == nil || got[1] != want {
			t.Errorf("rule: %s quotes docs/figures.md; it says %q, want a Get or Put that takes %q", name, got, want)
		}
	}
}

// page returns the text of a page of the repository.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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

// Package docs holds the pages for readers who want to know more than the README says. Its
// tests check the repository's pages: the README's program runs, and every link has a target.
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
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindSubmatch(readme)
	if program == nil {
		t.Fatal("the README has no Go program")
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "quickstart.exe")
	if err := os.WriteFile(source, program[1], 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the quickstart does not compile: %v\n%s", err, output)
	}
	for range 2 { // the second time, the file exists
		run := exec.CommandContext(t.Context(), binary)
		run.Dir = dir
		output, err := run.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(output), "user:42 = Ann until ") {
			t.Errorf("the quickstart prints %q, %v", output, err)
		}
	}
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

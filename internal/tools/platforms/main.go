// Command platforms checks that the packages of a module, and their tests, compile for
// other platforms:
//
//	go run ./platforms DIR GOOS/GOARCH…
//
// It checks types, and generates no code. "go vet" would first compile every dependency for
// each platform, which takes minutes when the build cache is empty.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: platforms DIR GOOS/GOARCH…")
		os.Exit(2)
	}
	failed := false
	for _, platform := range os.Args[2:] {
		problems, err := check(os.Args[1], platform)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, problem := range problems {
			fmt.Fprintf(os.Stderr, "%s: %s\n", platform, problem)
		}
		failed = failed || len(problems) > 0
	}
	if failed {
		os.Exit(1)
	}
}

// check returns the errors that prevent the packages of the module in dir, or their tests,
// from compiling for the platform.
func check(dir, platform string) (problems []string, err error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, fmt.Errorf("%q is not a platform; want GOOS/GOARCH, such as linux/386", platform)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	roots, err := packages.Load(&packages.Config{
		Dir:   dir,
		Env:   append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		Tests: true,
		Mode:  packages.LoadAllSyntax | packages.NeedModule,
		ParseFile: func(files *token.FileSet, name string, text []byte) (*ast.File, error) {
			file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, dir+string(filepath.Separator)) {
				dropBodies(file)
			}
			return file, err
		},
	}, "./...")
	if err != nil {
		return nil, err
	}
	reported := make(map[string]bool) // a package and its test variant have the same errors
	packages.Visit(roots, nil, func(p *packages.Package) {
		own := p.Module != nil && p.Module.Main && !strings.HasSuffix(p.ID, ".test")
		for _, problem := range p.Errors {
			// Type errors of dependencies are ignored: without function bodies they have
			// some, such as unused imports.
			if text := problem.Error(); (own || problem.Kind != packages.TypeError) && !reported[text] {
				reported[text] = true
				problems = append(problems, text)
			}
		}
	})
	return problems, nil
}

// dropBodies removes the bodies of functions, because checking them takes most of the time.
func dropBodies(file *ast.File) {
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			f.Body = nil
		}
	}
}

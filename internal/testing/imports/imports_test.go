// Package imports holds the rules of who may import whom, as a test.
package imports

import (
	"encoding/json"
	"errors"
	"go/build"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/skykv/skykv/"

// sdks are the modules that a provider brings along, by prefix of their paths.
var sdks = map[string][]string{
	"memkv":       nil,
	"localkv":     {"zombiezen.com/go/sqlite", "modernc.org/"},
	"dynamokv":    {"github.com/aws/"},
	"firestorekv": {"cloud.google.com/go/", "google.golang.org/", "github.com/googleapis/"},
	"aztableskv":  {"github.com/Azure/"},
}

// onKV are the packages below kv that are built on it alone.
var onKV = []string{"kv/lease", "kv/provider", "kv/watch"}

// nested are the packages below kv that have a library of their own, and so are modules of
// their own, each with what it may import beside the standard library: the rest of the path
// of skykv's own packages, and the modules of its library by prefix.
var nested = map[string][]string{
	"kv/cache":  {"kv", "kv/lease", "github.com/maypok86/otter/v2"},
	"kv/kvotel": {"kv", "go.opentelemetry.io/otel"},
}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// list describes the module's packages and all they depend on.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	pkgs := make(map[string]pkg)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
	return pkgs
}

func TestWhoMayImportWhom(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	seen := 0
	for path, p := range pkgs {
		from, own := strings.CutPrefix(path, module)
		if !own {
			continue
		}
		seen++
		for _, imported := range p.Imports {
			if rule := broken(from, imported, pkgs[imported].Standard); rule != "" {
				t.Errorf("rule: %s; %s imports %s", rule, from, imported)
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d packages of the module were seen", seen)
	}
}

// broken names the rule that an import breaks, "" when it breaks none.
func broken(from, imported string, standard bool) string {
	if standard {
		return ""
	}
	to, own := strings.CutPrefix(imported, module)
	top, below, _ := strings.Cut(from, "/")
	provider := own && strings.HasPrefix(to, "providers/")
	switch {
	case from == "providers/alien": // an opener, not a provider
		if !own || to != "kv" && to != "kv/provider" && to != "providers" && !strings.HasPrefix(to, "internal/") && !provider {
			return "providers/alien imports kv, kv/provider, internal, providers and what lies below providers"
		}
	case slices.Contains(onKV, from) && to != "kv":
		return "what is built on kv imports kv and the standard library only"
	case slices.Contains(onKV, from):
	case top == "kv":
		return "kv imports the standard library only"
	case from == "conformance" && to != "kv":
		return "conformance imports kv and the standard library only"
	case from == "conformance/emulator" && !slices.Contains([]string{"internal/testing/emulator", "kv", "kv/provider", "providers"}, to):
		return "conformance/emulator imports internal/testing/emulator, kv, kv/provider and providers only"
	case from == "internal/testing/emulator" && !strings.HasPrefix(imported, "github.com/testcontainers/testcontainers-go") &&
		// What testcontainers' own signatures have, and the errors of those.
		!strings.HasPrefix(imported, "github.com/moby/moby/") && imported != "github.com/containerd/errdefs":
		return "internal/testing/emulator imports the standard library and testcontainers only"
	case top == "internal" && (provider || to == "providers"):
		return "internal never imports providers"
	case top == "providers" && strings.HasPrefix(to, "internal/testing/"):
		return "internal/testing is for tests, and no provider links it"
	case top == "providers" && below != "" && own && to != "kv" && to != "kv/provider" && !strings.HasPrefix(to, "internal/"):
		return "a provider imports kv, kv/provider, internal and its own SDK, never another provider"
	case strings.HasPrefix(from, "cmd/") && strings.HasPrefix(to, "internal/"):
		return "the command is built on what everybody can import, its own internal packages aside"
	case top == "providers" && below != "" && !own && !slices.ContainsFunc(sdks[below], func(sdk string) bool { return strings.HasPrefix(imported, sdk) }):
		return "a provider imports kv, kv/provider, internal and its own SDK"
	}
	return ""
}

// What has a library of its own costs nothing to those who do not import it: the module of
// kv neither requires nor imports it.
func TestNestedModules(t *testing.T) {
	t.Parallel()
	const root = "../../../"
	goMod, err := os.ReadFile(root + "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(root + "kv/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), root)
		if nested[folder] == nil {
			t.Errorf("there are no rules for what %s may import", folder)
		}
	}
	pkgs := list(t)
	for folder, allowed := range nested {
		p, err := build.ImportDir(root+folder, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, imported := range p.Imports {
			if rule := brokenByNested(allowed, imported); rule != "" {
				t.Errorf("rule: %s; %s imports %s", rule, folder, imported)
			}
		}
		if pkgs[module+folder].ImportPath != "" {
			t.Errorf("rule: what has a library of its own is a module of its own; %s is in that of kv", folder)
		}
		for _, library := range allowed {
			if line := requirement(string(goMod), library); line != "" {
				t.Errorf("rule: the go.mod of kv requires nothing for %s; it has %q", folder, line)
			}
			for path, p := range pkgs {
				if strings.HasPrefix(path, module) && slices.ContainsFunc(p.Imports, func(imported string) bool { return isOf(imported, library) }) {
					t.Errorf("rule: no package of the module of kv imports the library of %s; %s does", folder, path)
				}
			}
		}
	}
}

// brokenByNested names the rule that an import of a package with a library of its own breaks.
func brokenByNested(allowed []string, imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	to, own := strings.CutPrefix(imported, module)
	switch {
	case !strings.Contains(first, "."): // of the standard library
	case own && slices.Contains(allowed, to):
	case !own && slices.ContainsFunc(allowed, func(library string) bool { return isOf(imported, library) }):
	default:
		return "a package with a library of its own imports kv, what is built on it, and that library"
	}
	return ""
}

// isOf reports whether a package is of a library.
func isOf(imported, library string) bool {
	return imported == library || strings.HasPrefix(imported, library+"/")
}

// requirement returns the line of a go.mod that requires a library, unless it is there for
// another library alone.
func requirement(goMod, library string) string {
	for line := range strings.Lines(goMod) {
		path, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " ")
		if isOf(path, library) && !strings.HasSuffix(strings.TrimSpace(line), "// indirect") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func TestRulesOfNestedModulesCanBeBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, imported string
		breaks         bool
	}{
		{"kv/cache", "github.com/maypok86/otter/v2/stats", false},
		{"kv/cache", module + "kv/lease", false},
		{"kv/cache", "encoding/json", false},
		{"kv/cache", "github.com/maypok86/otter", true},
		{"kv/cache", module + "kv/watch", true},
		{"kv/cache", module + "providers/memkv", true},
		{"kv/kvotel", "go.opentelemetry.io/otel/semconv/v1.43.0/dbconv", false},
		{"kv/kvotel", "go.opentelemetry.io/contrib", true},
		{"kv/kvotel", module + "kv/lease", true},
	} {
		if rule := brokenByNested(nested[c.from], c.imported); (rule != "") != c.breaks {
			t.Errorf("%s imports %s, which breaks a rule: %v; got %q", c.from, c.imported, c.breaks, rule)
		}
	}
	const goMod = "require github.com/maypok86/otter/v2 v2.4.0\n\tgo.opentelemetry.io/otel v1.47.0 // indirect\n"
	if requirement(goMod, "github.com/maypok86/otter/v2") == "" || requirement(goMod, "go.opentelemetry.io/otel") != "" {
		t.Error("a direct requirement is found, and an indirect one is not")
	}
}

func TestOneProviderLinksOneSDK(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	for provider := range sdks {
		p, ok := pkgs[module+"providers/"+provider]
		if !ok {
			t.Errorf("there is no providers/%s", provider)
		}
		for other, prefixes := range sdks {
			if other == provider {
				continue
			}
			for _, dep := range p.Deps {
				for _, prefix := range prefixes {
					// What several SDKs share is no one's own.
					if strings.HasPrefix(dep, prefix) && !slices.Contains(sdks[provider], prefix) {
						t.Errorf("rule: a program that imports one provider links one SDK; %s links %s", provider, dep)
					}
				}
			}
		}
	}
}

func TestRulesCanBeBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, imported string }{
		{"kv", module + "kv/provider"},
		{"kv", "github.com/aws/aws-sdk-go-v2"},
		{"conformance", module + "providers/memkv"},
		{"conformance/emulator", module + "providers/dynamokv"},
		{"conformance/emulator", "github.com/testcontainers/testcontainers-go"},
		{"internal/testing/emulator", module + "kv"},
		{"internal/testing/emulator", "github.com/aws/aws-sdk-go-v2"},
		{"providers", module + "internal/testing/emulator"},
		{"providers/dynamokv", module + "internal/testing/emulator"},
		{"kv/provider", module + "providers/memkv"},
		{"kv/provider", "github.com/aws/aws-sdk-go-v2"},
		{"kv", module + "kv/lease"},
		{"kv/lease", module + "kv/watch"},
		{"kv/lease", "golang.org/x/sys/unix"},
		{"kv/watch", module + "providers/memkv"},
		{"internal/parallel", module + "providers/memkv"},
		{"cmd/skykv/command", module + "internal/parallel"},
		{"providers/memkv", module + "providers/localkv"},
		{"providers/memkv", module + "conformance"},
		{"providers/dynamokv", "github.com/Azure/azure-sdk-for-go/sdk/azcore"},
		{"providers/memkv", module + "providers"},
		{"providers/memkv", module + "providers/alien"},
		{"providers/alien", module + "conformance"},
		{"providers/alien", "github.com/aws/aws-sdk-go-v2/aws"},
	} {
		if broken(c.from, c.imported, false) == "" {
			t.Errorf("no rule forbids %s to import %s", c.from, c.imported)
		}
	}
	for _, c := range []struct{ from, imported string }{
		{"providers/dynamokv", module + "kv"},
		{"providers/dynamokv", module + "kv/provider"},
		{"kv/provider", module + "kv"},
		{"kv/lease", module + "kv"},
		{"kv/watch", module + "kv"},
		{"providers/alien", module + "providers"},
		{"providers/alien", module + "providers/localkv"},
		{"cmd/skykv", module + "providers"},
		{"conformance/emulator", module + "internal/testing/emulator"},
		{"conformance/emulator", module + "providers"},
		{"internal/testing/emulator", "github.com/testcontainers/testcontainers-go/wait"},
	} {
		if rule := broken(c.from, c.imported, false); rule != "" {
			t.Errorf("%s imports %s, which breaks no rule; got %q", c.from, c.imported, rule)
		}
	}
}

// Package imports tests which packages may import which others.
package imports

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/skykv/skykv/"
	root   = "../../.."
)

// sdks has the modules that each provider needs, as prefixes of their paths.
var sdks = map[string][]string{
	"memkv":       nil,
	"localkv":     {"zombiezen.com/go/sqlite", "modernc.org/"},
	"dynamokv":    {"github.com/aws/"},
	"firestorekv": {"cloud.google.com/go/", "google.golang.org/", "github.com/googleapis/"},
	"aztableskv":  {"github.com/Azure/"},
}

// onKV are the packages below kv that import only kv and the standard library.
var onKV = []string{"kv/hedge", "kv/lease", "kv/provider", "kv/watch"}

// apart are the packages in modules of their own, so that a program that does not import
// them has none of their dependencies in its go.mod. Each is listed with the packages of
// skykv and the libraries that it may import besides kv and the standard library.
var apart = map[string][]string{
	"adapters/autocert":    {"golang.org/x/crypto/acme/autocert"},
	"adapters/certmagic":   {"kv/lease", "github.com/caddyserver/certmagic"},
	"adapters/fiber":       nil,
	"adapters/gocron":      {"kv/lease", "github.com/go-co-op/gocron/v2"},
	"adapters/httprate":    nil,
	"adapters/idempotency": {"kv/lease"},
	"adapters/scs":         nil,
	"kv/cache":             {"kv/lease", "github.com/maypok86/otter/v2"},
	"kv/kvotel":            {"go.opentelemetry.io/otel"},
	"kv/seal":              {"github.com/klauspost/compress"},
}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// list returns the packages of the module in a folder, and all packages on which they
// depend.
func list(t *testing.T, folder string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = folder
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
	pkgs := list(t, root)
	for _, folder := range []string{"adapters", "kv/*"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "go.mod"))
		if err != nil || len(files) == 0 {
			t.Errorf("there is no module in %s: %v", folder, err)
		}
		for _, file := range files {
			maps.Copy(pkgs, list(t, filepath.Dir(file)))
		}
	}
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
	for from := range apart {
		if _, ok := pkgs[module+from]; !ok {
			t.Errorf("there is no %s", from)
		}
	}
}

// broken returns the rule that an import breaks, or "" if it breaks none.
func broken(from, imported string, standard bool) string {
	if standard {
		return ""
	}
	to, own := strings.CutPrefix(imported, module)
	top, below, _ := strings.Cut(from, "/")
	provider := own && strings.HasPrefix(to, "providers/")
	allowed, isApart := apart[from]
	_, toApart := apart[to]
	switch {
	case isApart && to != "kv" && !slices.ContainsFunc(allowed, func(path string) bool {
		return to == path || !own && (imported == path || strings.HasPrefix(imported, path+"/"))
	}):
		return "a package in a module of its own imports kv, the standard library, and what is listed for it"
	case isApart:
	case toApart || top == "adapters":
		return "what is in a module of its own is listed, and imported by users alone"
	case from == "providers/alien": // opens stores, but is not a provider
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
		// testcontainers' API has types of moby/moby. Their methods return the errors of
		// containerd/errdefs.
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

func TestOneProviderLinksOneSDK(t *testing.T) {
	t.Parallel()
	pkgs := list(t, root)
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
					// A library that several SDKs use belongs to none of them.
					if strings.HasPrefix(dep, prefix) && !slices.Contains(sdks[provider], prefix) {
						t.Errorf("rule: a program that imports one provider links one SDK; %s links %s", provider, dep)
					}
				}
			}
		}
	}
}

func TestModulesOfTheirOwnAddNothing(t *testing.T) {
	t.Parallel()
	required := func(folder string) (paths []string) {
		text, err := os.ReadFile(filepath.Join(root, folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(strings.TrimPrefix(line, "require "))
			if len(fields) == 2 && strings.HasPrefix(fields[1], "v") { // indirect requirements have more fields
				paths = append(paths, fields[0])
			}
		}
		return paths
	}
	all := required(".")
	if len(all) < 5 {
		t.Fatalf("only %d requirements of the module were seen", len(all))
	}
	for _, path := range all {
		for from, libraries := range apart {
			if slices.ContainsFunc(libraries, func(library string) bool {
				return path == library || strings.HasPrefix(path, library+"/") || strings.HasPrefix(library, path+"/")
			}) {
				t.Errorf("rule: go.mod requires nothing for what is in a module of its own; it has %s of %s", path, from)
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
		{"kv/hedge", module + "kv/lease"},
		{"kv/lease", module + "kv/seal"},
		{"kv/seal", module + "kv/hedge"},
		{"kv/seal", "github.com/tink-crypto/tink-go/v2/aead"},
		{"kv/cache", "github.com/maypok86/otter"},
		{"kv/cache", module + "providers/memkv"},
		{"kv/kvotel", "go.opentelemetry.io/contrib"},
		{"cmd/skykv", module + "kv/seal"},
		{"adapters/fiber", "github.com/gofiber/fiber/v2"},
		{"adapters/gocron", "github.com/caddyserver/certmagic"},
		{"adapters/scs", module + "internal/testing/faults"},
		{"adapters/unlisted", module + "kv"},
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
		{"kv/hedge", module + "kv"},
		{"kv/seal", "github.com/klauspost/compress/zstd"},
		{"kv/cache", "github.com/maypok86/otter/v2/stats"},
		{"kv/cache", module + "kv/lease"},
		{"adapters/gocron", "github.com/go-co-op/gocron/v2"},
		{"adapters/gocron", module + "kv/lease"},
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

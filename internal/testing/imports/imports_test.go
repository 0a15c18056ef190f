// Package imports holds the rules of who may import whom, as a test.
package imports

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
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

// clients are the packages of others whose types an adapter needs. The other adapters get by
// with plain types.
var clients = map[string]string{
	"adapters/autocert":  "golang.org/x/crypto/acme/autocert",
	"adapters/certmagic": "github.com/caddyserver/certmagic",
	"adapters/gocron":    "github.com/go-co-op/gocron/v2",
}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// list describes the packages of the module in a folder, and all they depend on.
func list(t *testing.T, folder, pattern string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", pattern)
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
	pkgs := list(t, ".", module+"...")
	maps.Copy(pkgs, list(t, "../../../adapters", module+"adapters/..."))
	seen := make(map[string]int)
	for path, p := range pkgs {
		from, own := strings.CutPrefix(path, module)
		if !own {
			continue
		}
		top, _, _ := strings.Cut(from, "/")
		seen[top]++
		for _, imported := range p.Imports {
			if rule := broken(from, imported, pkgs[imported].Standard); rule != "" {
				t.Errorf("rule: %s; %s imports %s", rule, from, imported)
			}
		}
	}
	for _, top := range []string{"adapters", "internal", "kv", "providers"} {
		if seen[top] < 3 {
			t.Errorf("only %d packages of %s were seen", seen[top], top)
		}
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
	case top == "adapters" && to != "kv" && to != "kv/lease" && imported != clients[from]:
		return "an adapter imports kv, kv/lease and the library whose interface it has"
	case strings.HasPrefix(from, "cmd/") && strings.HasPrefix(to, "internal/"):
		return "the command is built on what everybody can import, its own internal packages aside"
	case top == "providers" && below != "" && !own && !slices.ContainsFunc(sdks[below], func(sdk string) bool { return strings.HasPrefix(imported, sdk) }):
		return "a provider imports kv, kv/provider, internal and its own SDK"
	}
	return ""
}

func TestOneProviderLinksOneSDK(t *testing.T) {
	t.Parallel()
	pkgs := list(t, ".", module+"...")
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

// The rule: who does not use adapters has nothing of them in go.mod.
func TestAdaptersAddNothing(t *testing.T) {
	t.Parallel()
	required := func(file string) (paths []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(text), -1) { // without // indirect
			paths = append(paths, m[1])
		}
		return paths
	}
	root, adapters := required("../../../go.mod"), required("../../../adapters/go.mod")
	if len(root) < 5 || len(adapters) < 5 {
		t.Fatalf("only %d and %d requirements were seen", len(root), len(adapters))
	}
	for _, path := range adapters {
		if slices.Contains(root, path) {
			t.Errorf("rule: the root go.mod has no library of the adapters; it requires %s", path)
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
		{"adapters/fiber", "github.com/gofiber/fiber/v2"},
		{"adapters/gocron", "github.com/caddyserver/certmagic"},
		{"adapters/scs", module + "providers/memkv"},
		{"adapters/scs", module + "internal/testing/faults"},
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
		{"adapters/gocron", "github.com/go-co-op/gocron/v2"},
		{"adapters/gocron", module + "kv/lease"},
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

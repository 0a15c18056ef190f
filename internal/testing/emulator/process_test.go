//go:build unix

package emulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// script writes an executable shell script.
func script(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// stub returns a service whose emulator is a shell command. The emulator never answers.
func stub(command string) *service {
	return &service{
		kind: "stub", name: "Stub",
		endpoint: func(hostPort string) string { return hostPort },
		probe:    func(context.Context, string) error { return errors.New("no answer") },
		command: func(context.Context) (commandLine, error) {
			return func(port string) []string { return []string{"/bin/sh", "-c", command, "stub", port} }, nil
		},
	}
}

func TestProcessEndsEarly(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	_, err := stub("echo $1 >>"+log+"; echo the reason >&2; exit 3").startProcess(t.Context(), 0)
	if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v; want that it ended, and what it printed", err)
	}
	ports, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(strings.Fields(string(ports))); got != 3 {
		t.Errorf("it was started %d times, want 3: another program may take the port first", got)
	}
}

func TestProcessNeverAnswers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	printed := filepath.Join(t.TempDir(), "printed")
	s := stub("echo starting; echo group $(ps -o pgid= -p $$); : >" + printed + "; sleep 1000")
	s.probe = func(context.Context, string) error {
		if _, err := os.Stat(printed); err == nil {
			cancel()
		}
		return errors.New("no answer")
	}
	_, err := s.startProcess(ctx, 0)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "starting") || !strings.Contains(err.Error(), "no answer") {
		t.Fatalf("got %v; want the context's error, the last answer, and what it printed", err)
	}
	if _, group, ok := strings.Cut(err.Error(), "group "); ok {
		if group = strings.TrimSpace(group); group != "" && running(t, &Emulator{Way: "process", id: group}) {
			t.Errorf("process group %s is left", group)
		}
	}
}

// The rule: a probe does not count if the emulator has ended, because another program on that
// port answered it.
func TestSomebodyElseAnswers(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	err := ready(t.Context(), ended, func(context.Context) error {
		close(ended)
		return nil
	})
	if !errors.Is(err, errEnded) {
		t.Errorf("got %v; want that it ended", err)
	}
}

// The rule: Stop also ends the processes that the emulator has started, because an emulator
// may be a script that starts the real program.
func TestStopReachesGrandchildren(t *testing.T) {
	t.Parallel()
	s := stub("sleep 1000 & sh -c 'sleep 1000' & wait")
	s.probe = func(context.Context, string) error { return nil }
	e, err := s.startProcess(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !running(t, e) {
		t.Fatal("this test cannot see the process that it started")
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	gone(t, e)
}

func TestTail(t *testing.T) {
	t.Parallel()
	output := new(tail)
	for n := range 2000 {
		fmt.Fprintf(output, "line %d\n", n)
	}
	text := output.explain(errors.New("it failed")).Error()
	if !strings.HasPrefix(text, "it failed; ") || !strings.HasSuffix(text, "line 1999\n") || len(text) > tailSize+100 {
		t.Errorf("got %d bytes: %.60q…; want the error and the last %d bytes", len(text), text, tailSize)
	}
}

func TestFindJava(t *testing.T) {
	for _, tc := range []struct {
		name, home, path string // home and path: what java prints for -version, in JAVA_HOME and on the PATH; "" means there is no java
		want             string // "home", "path", or part of the error
	}{
		{"17", "", `openjdk version "17.0.15" 2025-04-15`, "path"},
		{"early access", "", `openjdk version "27-ea" 2026-09-15`, "path"},
		{"home first", `java version "21.0.1"`, `openjdk version "17.0.15"`, "home"},
		{"home too old", `openjdk version "11.0.2"`, `openjdk version "25"`, "path"},
		{"home without java", "", `openjdk version "17"`, "path"},
		{"8", "", `java version "1.8.0_392"`, "version 8"},
		{"16", "", `openjdk version "16.0.2"`, "version 16"},
		{"no version", "", `hello`, "names no version"},
		{"stub that fails", "", "exit 1", "exit status 1"},
		{"none", "", "", "executable file not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folders := map[string]string{"home": t.TempDir(), "path": t.TempDir()}
			t.Setenv("JAVA_HOME", folders["home"])
			t.Setenv("PATH", folders["path"])
			files := map[string]string{"home": filepath.Join(folders["home"], "bin", "java"), "path": filepath.Join(folders["path"], "java")}
			for where, prints := range map[string]string{"home": tc.home, "path": tc.path} {
				switch {
				case strings.HasPrefix(prints, "exit"):
					script(t, files[where], prints)
				case prints != "":
					script(t, files[where], "echo '"+prints+"' >&2")
				}
			}
			java, err := findJava(t.Context())
			if want := files[tc.want]; want != "" {
				if java != want || err != nil {
					t.Errorf("got %q, %v; want %s", java, err, want)
				}
			} else if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, %v; want ErrUnavailable with %q", java, err, tc.want)
			}
		})
	}
}

func TestFirestoreJar(t *testing.T) {
	const (
		gcloudJar = "sdk/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
		cache     = "home/.cache/firebase/emulators/"
	)
	for _, tc := range []struct {
		name  string
		files []string // from the oldest to the newest; those in bin are scripts
		want  string   // a file, or part of the error
	}{
		{"gcloud's", []string{"sdk/bin/gcloud", gcloudJar, cache + "cloud-firestore-emulator-v1.19.8.jar"}, gcloudJar},
		{"gcloud without it, firebase's", []string{"sdk/bin/gcloud", cache + "cloud-firestore-emulator-v1.19.8.jar"}, cache + "cloud-firestore-emulator-v1.19.8.jar"},
		{"firebase's newest", []string{cache + "cloud-firestore-emulator-v1.9.0.jar", cache + "cloud-firestore-emulator-v1.19.8.jar"}, cache + "cloud-firestore-emulator-v1.19.8.jar"},
		{"firebase fetches it", []string{"bin/firebase"}, cache + "cloud-firestore-emulator-v2.jar"},
		{"firebase fails", []string{"bin/firebase-that-fails"}, "no network"},
		{"none", nil, "neither gcloud's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", filepath.Join(root, "bin"))
			t.Setenv("HOME", filepath.Join(root, "home"))
			t.Setenv("FIREBASE_EMULATORS_PATH", "")
			for n, name := range tc.files {
				file := filepath.Join(root, name)
				switch filepath.Base(name) {
				case "firebase":
					// The PATH has no commands, so the script sets its own.
					script(t, file, `[ "$*" = setup:emulators:firestore ] && PATH=/bin:/usr/bin mkdir -p $HOME/.cache/firebase/emulators && : >$HOME/.cache/firebase/emulators/cloud-firestore-emulator-v2.jar`)
				case "firebase-that-fails":
					script(t, filepath.Join(root, "bin", "firebase"), "echo no network; exit 1")
				default:
					script(t, file, "")
				}
				if filepath.Base(name) == "gcloud" {
					if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.Symlink(file, filepath.Join(root, "bin", "gcloud")); err != nil {
						t.Fatal(err)
					}
				}
				if strings.HasSuffix(name, ".jar") {
					when := time.Now().Add(time.Duration(n-len(tc.files)) * time.Minute)
					if err := os.Chtimes(file, when, when); err != nil {
						t.Fatal(err)
					}
				}
			}
			jar, err := firestoreJar(t.Context())
			if strings.HasSuffix(tc.want, ".jar") {
				if want := filepath.Join(root, tc.want); jar != want || err != nil {
					t.Errorf("got %q, %v; want %s", jar, err, want)
				}
			} else if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, %v; want ErrUnavailable with %q", jar, err, tc.want)
			}
		})
	}
}

// The function npm puts a fake npm program first in PATH, and returns the cache folder. The program takes long
// enough for several installations to overlap.
func npm(t *testing.T) string {
	t.Helper()
	bin, cache := t.TempDir(), t.TempDir()
	t.Setenv("HOME", cache) // on macOS the cache folder is in the home folder
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	script(t, filepath.Join(bin, "npm"), `
[ "$1 $2" = "install --prefix" ] || { echo "unexpected: $*"; exit 1; }
for package in "$@"; do :; done
[ "$package" = broken@1 ] && { echo "404 Not Found"; exit 1; }
echo run >>`+bin+`/runs
folder=$3/node_modules/${package%@*}
mkdir -p "$folder/lib"
sleep 0.1
echo all >"$folder/lib/content"`)
	folder, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "skykv", "emulators")
}

func TestInstall(t *testing.T) {
	cache := npm(t)
	abandoned := filepath.Join(cache, installing+"abandoned")
	recent := filepath.Join(cache, installing+"recent")
	for _, folder := range []string{abandoned, recent} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if old := time.Now().Add(-2 * time.Hour); os.Chtimes(abandoned, old, old) != nil {
		t.Fatal("cannot make a folder old")
	}

	var wg sync.WaitGroup
	for range 4 { // goroutines, like separate programs, share nothing here but the folder
		wg.Go(func() {
			folder, err := npmPackage(t.Context(), "thing", "1")
			if err != nil {
				t.Errorf("several installing at once: %v", err)
				return
			}
			if content, err := os.ReadFile(filepath.Join(folder, "lib", "content")); err != nil || string(content) != "all\n" {
				t.Errorf("an incomplete package was used: %q, %v", content, err)
			}
		})
	}
	wg.Wait()

	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if got, want := strings.Join(names, " "), "installing-recent thing@1"; got != want {
		t.Errorf("the cache folder has %s; want %s: only leftovers of a program that may still run", got, want)
	}

	t.Setenv("PATH", t.TempDir())
	if _, err := npmPackage(t.Context(), "thing", "1"); err != nil {
		t.Errorf("an installed package needs no npm: %v", err)
	}
	if _, err := npmPackage(t.Context(), "thing", "2"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "thing@2") {
		t.Errorf("without npm: got %v, want ErrUnavailable that names the package", err)
	}
}

func TestInstallFails(t *testing.T) {
	cache := npm(t)
	_, err := npmPackage(t.Context(), "broken", "1")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "404 Not Found") || !strings.Contains(err.Error(), "broken@1") {
		t.Errorf("got %v; want ErrUnavailable with the package and what npm printed", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) > 0 {
		t.Errorf("a failed installation left %s", left)
	}
}

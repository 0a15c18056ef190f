package emulator

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// npmPackage returns the folder of an npm package below the user's cache folder, and installs the package first
// if it is missing. Several programs may do that at once: each installs into its own folder, and the first one
// that is done renames its folder to the common name.
func npmPackage(ctx context.Context, name, version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", unavailable("nowhere to install npm's %s: %w", name, err)
	}
	cache = filepath.Join(cache, "skykv", "emulators")
	installed := filepath.Join(cache, name+"@"+version)
	folder := filepath.Join(installed, "node_modules", name)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", unavailable("npm's %s@%s is not installed in %s: %w", name, version, cache, err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	removeAbandoned(cache)
	temporary, err := os.MkdirTemp(cache, installing)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	// Without a network npm would retry for a minute.
	if err := runTool(ctx, npm, "install", "--prefix", temporary, "--ignore-scripts", "--no-audit", "--no-fund",
		"--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000", name+"@"+version); err != nil {
		return "", unavailable("installing npm's %s@%s: %w", name, version, err)
	}
	if err := os.Rename(temporary, installed); err != nil {
		if _, missing := os.Stat(folder); missing != nil { // and not because another program was faster
			return "", err
		}
	}
	return folder, nil
}

const installing = "installing-"

// removeAbandoned removes the folders of programs that were killed while they installed.
func removeAbandoned(cache string) {
	folders, _ := filepath.Glob(filepath.Join(cache, installing+"*"))
	for _, folder := range folders {
		if time.Since(changed(folder)) > time.Hour {
			_ = os.RemoveAll(folder) // the next one tries again
		}
	}
}

// runTool runs a program to its end.
func runTool(ctx context.Context, args ...string) error {
	output := new(tail)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = killWithin
	if err := cmd.Run(); err != nil {
		return output.explain(fmt.Errorf("%s: %w", filepath.Base(args[0]), err))
	}
	return nil
}

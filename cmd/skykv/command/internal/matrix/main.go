// Matrix runs skykv conformance on every kind of store, those of the services on
// the emulators that skykv dev starts, and writes what comes out as JSON into the
// matrix of the README. It takes a minute or two, from the module's folder:
//
//	make matrix
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/skykv/skykv/cmd/skykv/command/internal/report"
)

const page = "README.md"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal("matrix: ", err)
	}
}

func run(ctx context.Context) (err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	if _, err := report.FindMatrix(text); err != nil { // before minutes of work
		return err
	}
	dir, err := os.MkdirTemp("", "skykv-matrix-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	skykv := filepath.Join(dir, "skykv.exe")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", skykv, "./cmd/skykv").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}

	dev := exec.CommandContext(ctx, skykv, "dev", "--json")
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	dev.Stderr = os.Stderr
	out, err := dev.StdoutPipe()
	if err != nil {
		return err
	}
	if err := dev.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Process.Signal(os.Interrupt), dev.Wait()) }()
	var emulators map[string]struct{ URL string }
	if err := json.NewDecoder(out).Decode(&emulators); err != nil {
		return fmt.Errorf("skykv dev: %w", err)
	}

	// The reference platform's layout is in a table of its own.
	shared, err := url.Parse(emulators["dynamodb"].URL)
	if err != nil {
		return err
	}
	shared.Host += "-alien"
	shared.RawQuery += "&layout=alien"
	if out, err := exec.CommandContext(ctx, skykv, "provision", shared.String()).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}

	var runs []*report.Run
	for _, url := range []string{
		"mem:", "file:" + filepath.ToSlash(filepath.Join(dir, "store.db")),
		emulators["dynamodb"].URL, shared.String(), emulators["firestore"].URL, emulators["aztables"].URL,
	} {
		log.Print("skykv conformance ", url)
		var stdout bytes.Buffer
		cmd := exec.CommandContext(ctx, skykv, "conformance", url, "--json")
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
		failed := cmd.Run()
		results := new(report.Run)
		if err := json.Unmarshal(stdout.Bytes(), results); err != nil || len(results.Cases) == 0 {
			return errors.Join(failed, err) // nothing was checked
		}
		runs = append(runs, results)
	}
	if text, err = report.ReplaceMatrix(text, report.Matrix(runs)); err != nil {
		return err
	}
	return os.WriteFile(page, text, 0o644)
}

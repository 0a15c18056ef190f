// Matrix writes the generated parts of docs/contract.md: the rules of the suite, and the
// matrix of providers. For the matrix it runs skykv conformance on every kind of store. The
// stores of the services are on the emulators that skykv dev starts. The runs take two
// minutes. "make rules" writes only the rules, and does not run the suite. In the module's
// folder, run:
//
//	make matrix
//	make rules
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/skykv/skykv/cmd/skykv/command/internal/report"
	"github.com/skykv/skykv/conformance"
)

const page = "docs/contract.md"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	rules := flag.Bool("rules", false, "write only the rules")
	flag.Parse()
	if err := run(ctx, *rules); err != nil {
		log.Fatal("matrix: ", err)
	}
}

func run(ctx context.Context, onlyRules bool) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	all := append(conformance.Cases(), conformance.FaultCases()...)
	if text, err = report.RulesSection.Replace(text, report.Rules(all)); err != nil {
		return err
	}
	if !onlyRules {
		if _, err := report.MatrixSection.Find(text); err != nil { // before the runs, so that an error here does not come after minutes of work
			return err
		}
		runs, err := runAll(ctx)
		if err != nil {
			return err
		}
		if text, err = report.MatrixSection.Replace(text, report.Matrix(runs)); err != nil {
			return err
		}
	}
	return os.WriteFile(page, text, 0o644)
}

// runAll runs the suite on every kind of store.
func runAll(ctx context.Context) (runs []*report.Run, err error) {
	dir, err := os.MkdirTemp("", "skykv-matrix-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	skykv := filepath.Join(dir, "skykv.exe")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", skykv, "./cmd/skykv").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}

	dev := exec.CommandContext(ctx, skykv, "dev", "--json")
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	dev.Stderr = os.Stderr
	out, err := dev.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := dev.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Process.Signal(os.Interrupt), dev.Wait()) }()
	var emulators map[string]struct{ URL string }
	if err := json.NewDecoder(out).Decode(&emulators); err != nil {
		return nil, fmt.Errorf("skykv dev: %w", err)
	}

	// A store with the layout of the Alien platform needs a separate table or project.
	shared := make(map[string]string)
	for service, name := range map[string]string{"dynamodb": "-alien", "firestore": "-alien", "aztables": "alien"} {
		u, err := url.Parse(emulators[service].URL)
		if err != nil {
			return nil, err
		}
		if service == "aztables" {
			u.Path += name
		} else {
			u.Host += name
		}
		u.RawQuery += "&layout=alien"
		shared[service] = u.String()
		if out, err := exec.CommandContext(ctx, skykv, "provision", u.String()).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}

	for _, url := range []string{
		"mem:", "file:" + filepath.ToSlash(filepath.Join(dir, "store.db")),
		emulators["dynamodb"].URL, shared["dynamodb"], emulators["firestore"].URL, shared["firestore"], emulators["aztables"].URL, shared["aztables"],
	} {
		log.Print("skykv conformance ", url)
		var stdout bytes.Buffer
		cmd := exec.CommandContext(ctx, skykv, "conformance", url, "--json")
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
		failed := cmd.Run()
		results := new(report.Run)
		if err := json.Unmarshal(stdout.Bytes(), results); err != nil || len(results.Cases) == 0 {
			return nil, errors.Join(failed, err) // nothing was checked
		}
		runs = append(runs, results)
	}
	return runs, nil
}

// Command bench compares skykv with the libraries that it is built on, and with its peers:
//
//	go run . [-rounds N] [-work REGEXP] [-results FILE] [-plots FOLDER] [-figures PAGE]
//	go run . -report [-results FILE] [-plots FOLDER] [-figures PAGE]
//
// It writes the results to FILE, in the format of Go's benchmarks. From FILE it prints tables
// made by benchstat, a summary, and a line for each goal. With -plots it also draws the plots
// of docs/figures.md. With -figures it writes the summary and the goals into PAGE, which is
// docs/figures.md. With -report it measures nothing, and reads FILE instead.
//
// All stores that do the same work take turns, so that other load on the machine slows all
// of them alike. The services are servers that this program runs in another process, and
// that do hardly any work. Some answer late, as if they were far away. Package
// conformance/emulator starts the emulators. The program is a module of its own, so that
// users of skykv do not get its dependencies.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"

	"github.com/skykv/skykv/conformance/emulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := bench
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		run = serve
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	results := flag.String("results", "results.txt", "write or, with -report, read the measurements in `FILE`")
	plots := flag.String("plots", "", "write the plots to `FOLDER`")
	figures := flag.String("figures", "", "write the summary and the goals into `PAGE`")
	rounds := flag.Int("rounds", 10, "measure everything `N` times")
	only := flag.String("work", "", "measure the works whose names match `REGEXP`")
	reportOnly := flag.Bool("report", false, "measure nothing")
	flag.Parse()
	if *figures != "" {
		if err := checkFigures(*figures); err != nil { // a wrong page is an error now, not after minutes of measuring
			return err
		}
	}
	if !*reportOnly {
		pattern, err := regexp.Compile(*only)
		if err != nil {
			return err
		}
		file, err := os.Create(*results)
		if err != nil {
			return err
		}
		if err := measure(ctx, pattern, *rounds, file); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	if err := benchstat(ctx, *results, os.Stdout); err != nil {
		return err
	}
	m, err := readMeasurements(*results)
	if err != nil {
		return err
	}
	if *plots != "" {
		if err := writePlots(m, *plots); err != nil {
			return err
		}
	}
	if *figures != "" {
		if err := writeFigures(m, *figures); err != nil {
			return err
		}
	}
	printSummary(m, os.Stdout)
	printGoals(m, os.Stdout)
	return nil
}

// measure measures every work whose name matches pattern, and writes the results to file.
func measure(ctx context.Context, pattern *regexp.Regexp, rounds int, file io.Writer) error {
	fmt.Fprintf(file, "goos: %s\ngoarch: %s\ngo: %s\ncores: %d\n", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU())
	out := benchfmt.NewWriter(file)
	var emulators emulators
	defer emulators.stop()
	for _, works := range [][]work{
		memoryWorks, localWorks, dynamoWorks, firestoreWorks, azureWorks, atomicWorks, updateWorks,
		cacheWorks, hedgeWorks, sealWorks, telemetryWorks, emulators.works(),
	} {
		for _, w := range works {
			if !pattern.MatchString(w.name) {
				continue
			}
			begun := time.Now()
			err := w.measure(ctx, rounds, out)
			fmt.Fprintf(os.Stderr, "bench: %s: %s\n", w.name, time.Since(begun).Round(time.Second/10))
			if errors.Is(err, emulator.ErrUnavailable) {
				fmt.Fprintf(file, "%s%s: %v\n", notMeasured, w.name, strings.ReplaceAll(err.Error(), "\n", " "))
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

// benchstat prints the tables that Go's benchstat makes of the results: one for each
// service and unit, with a column for each store.
func benchstat(ctx context.Context, results string, out io.Writer) error {
	var failure bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", "benchstat",
		"-table", "/service", "-row", ".fullname", "-col", "/store@("+strings.Join(stores, " ")+")", results)
	cmd.Stdout, cmd.Stderr = out, &failure
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("benchstat: %w: %s", err, failure.Bytes())
	}
	return nil
}

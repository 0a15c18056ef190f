package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/command/internal/report"
	"github.com/skykv/skykv/conformance"
)

func (c *cli) newConformance() *cobra.Command {
	var (
		asJSON, force bool
		page          string
	)
	cmd := &cobra.Command{
		Use:   "conformance [URL]",
		Short: "Check that a store keeps the contract",
		Long: `Run the public conformance suite against a store, also in a real cloud. The store must be
empty, and nobody else may use it meanwhile: a store with a key is refused. The suite
leaves it empty. Every case checks one rule. A case that fails quotes its rule.

Exits with 7 if a case fails. With --json, print the results as one JSON document.`,
		Example: `  skykv conformance 'dynamodb://test?region=eu-central-1'
  skykv conformance file:/tmp/empty.db --report report.html

With KV_URL set:
  skykv conformance --json | jq .failed`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			var at newFile
			var file *os.File
			if page != "" { // before the run, so that an error here does not come after hours of work
				if at, file, err = openReport(page, force); err != nil {
					return err
				}
			}
			results, err := c.runSuite(ctx, url, !asJSON)
			if err != nil {
				if page != "" {
					err = errors.Join(err, at.discard(file))
				}
				return err
			}
			if asJSON {
				err = printJSON(results)
			} else {
				err = printResults(results)
			}
			if page != "" { // after the results are printed, so that an error here does not lose them
				_, writeErr := file.Write(results.HTML())
				if writeErr == nil {
					writeErr = at.finish(file, force)
				} else {
					writeErr = errors.Join(writeErr, at.discard(file))
				}
				err = errors.Join(err, writeErr)
			}
			if err == nil && results.Failed > 0 {
				err = quiet(exitFindings)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as one JSON document")
	cmd.Flags().StringVar(&page, "report", "", "write a page of HTML about the run to this file")
	cmd.Flags().BoolVar(&force, "force", false, "replace the report file if it exists")
	_ = cmd.MarkFlagFilename("report", "html")
	return cmd
}

// openReport creates the file for a report. If the file exists and force is not set, it returns an
// error.
func openReport(path string, force bool) (at newFile, file *os.File, err error) {
	if path == standard {
		return at, nil, usagef("--report needs a file: the results are on standard output")
	}
	if at, err = findNewFile(path, 0o644); err == nil && !force {
		err = at.errExists()
	}
	if err == nil {
		file, err = at.create()
	}
	return at, file, err
}

// runSuite runs the suite. If tell is set, runSuite prints each case that fails.
func (c *cli) runSuite(ctx context.Context, url string, tell bool) (*report.Run, error) {
	conn, err := c.stores.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	store, err := conn.Open(ctx)
	if err != nil {
		return nil, err
	}
	run := &report.Run{
		Suite: version(), Go: goVersion(), URL: url, Started: time.Now().UTC().Truncate(time.Second),
		Provider: store.Info().Name, Shards: store.Info().Shards,
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	order := make(map[string]int)
	for i, listed := range conformance.Cases() {
		order[listed.Name] = i
	}
	total := len(order)
	m := newMeter("checked", "cases", 0)
	defer m.hide()
	m.total(int64(total))
	begun := time.Now()
	for result, err := range conformance.Check(ctx, conformance.Config{
		New:    conn.Open, // one client for all stores, because finding credentials may take seconds
		Shared: true,
	}) {
		if err != nil {
			return nil, err
		}
		run.Add(result.Name, result.Rule, result.Failures, result.Lacks, result.Duration)
		m.update(int64(len(run.Cases)))
		if failure := result.Err(); failure != nil && tell {
			m.hide()
			if _, err := fmt.Fprintf(stdout, "FAIL %s\n%s\n", result.Name, indent(failure.Error())); err != nil {
				return nil, err
			}
		}
	}
	run.Seconds = time.Since(begun).Seconds()
	slices.SortFunc(run.Cases, func(a, b report.Case) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	return run, nil
}

// printResults prints the cases that were left out, and the number of cases that passed.
func printResults(results *report.Run) error {
	left := ""
	for _, c := range results.Cases {
		if c.Passed && c.Lacks != "" {
			left += fmt.Sprintf("left out %s: %s\n", c.Name, c.Lacks)
		}
	}
	_, err := fmt.Fprintf(stdout, "%s%s: %d of %d cases passed in %s\n", left, results.Provider, results.Passed, results.Asked(), results.Duration().Round(time.Millisecond))
	return err
}

func indent(text string) string {
	return "     " + strings.ReplaceAll(text, "\n", "\n     ")
}

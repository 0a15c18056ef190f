package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/internal/transfer"
	"github.com/skykv/skykv/kv"
)

// saveEvery is how much of a transfer's work a crash may have to repeat.
const saveEvery = 250 * time.Millisecond

const checkpointHelp = `With --checkpoint, the state is kept in a file, a few times a second and in one step: after
an interruption of any kind, kill -9 and power cuts included, the same command goes on
where it stopped. The file is removed at the end.`

func newCopy() *cobra.Command {
	var (
		job                        transfer.Job
		checkpoint                 string
		parallel                   int
		verify, verifyOnly, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy entries from one store to another",
		Long: `Copy all entries, or those with --prefix, from one store to another of whatever kind,
while both are in use. Entries expire in TO at the same instant as in FROM, to the
millisecond. What TO holds under other keys stays. Of an entry that is written meanwhile,
the old state or the new one is copied.

` + checkpointHelp + `

With --verify, compare both sides at the end and print every key in which they differ:
missing (in FROM only), extra (in TO only), value, expiry, or unreadable. Exits with 7 if
there is any. Both must be at rest for that to say something.

On a terminal, the total for the bar is counted by a second scan of FROM's keys.`,
		Example: `  skykv copy file:app.db dynamodb://cache?region=eu-central-1
  skykv copy dynamodb://cache firestore://my-project/kv --checkpoint copy.state --verify
  skykv copy dynamodb://cache aztables://account/cache --prefix user: --if-absent
  skykv copy dynamodb://cache file:backup.db --verify-only`,
		Args: rangeArgs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			job.Command, job.From, job.To = "copy", args[0], args[1]
			if job.From == job.To {
				return usagef("FROM and TO are the same store")
			}
			if err := checkTransfer(job, parallel); err != nil {
				return err
			}
			state, resumed, err := readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			return withExisting(ctx, job.From, func(from *kv.Store) error {
				return withStore(ctx, job.To, func(to *kv.Store) error {
					r := result{Command: "copy", Resumed: resumed, Counts: state.Counts}
					if !verifyOnly {
						m := newMeter("copied", "entries", state.Counts.Done())
						counting, cancel := context.WithCancel(ctx)
						defer cancel()
						m.count(counting, from, job.Prefix, state.Position.Key)
						err := r.run(ctx, m, job, checkpoint, transfer.Config{
							Source: transfer.FromStore(from, job.Prefix),
							Sink:   transfer.ToStore(to, parallel, job.IfAbsent),
							From:   state,
						})
						cancel()
						if err != nil {
							return err
						}
						if err := removeCheckpoint(checkpoint); err != nil {
							return err
						}
					}
					if verify || verifyOnly {
						if err := r.compare(ctx, from, to, job.Prefix, asJSON); err != nil {
							return err
						}
					}
					return r.print(asJSON)
				})
			})
		},
	}
	addTransferFlags(cmd, &job, &checkpoint, &asJSON)
	cmd.Flags().StringVar(&job.Prefix, "prefix", "", "only keys that begin with this")
	cmd.Flags().BoolVar(&job.IfAbsent, "if-absent", false, "only entries whose keys TO does not have")
	cmd.Flags().IntVar(&parallel, "parallel", 4, "how many batches of up to 500 entries are written at once")
	cmd.Flags().BoolVar(&verify, "verify", false, "compare both sides at the end, and report differences")
	cmd.Flags().BoolVar(&verifyOnly, "verify-only", false, "copy nothing, but compare both sides")
	return cmd
}

func newExport() *cobra.Command {
	var (
		job                transfer.Job
		checkpoint, output string
		force, asJSON      bool
	)
	cmd := &cobra.Command{
		Use:   "export [URL]",
		Short: "Write entries to a file, as lines of JSON",
		Long: `Write all entries, or those with --prefix, in order of their keys as lines of JSON to
standard output, or to the file that --output names: the key, the "value" (or "base64",
when it is not UTF-8 text), and "expiresAt" if it expires.

The file appears under its name when it is complete; until then it is NAME.partial.

` + checkpointHelp,
		Example: `  skykv export file:app.db --output app.jsonl
  skykv export dynamodb://cache --prefix user: | gzip > users.jsonl.gz
  skykv export dynamodb://cache -o kv.jsonl --checkpoint export.state`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := splitURL(args, 0)
			if err != nil {
				return err
			}
			if output == "" && (checkpoint != "" || asJSON) {
				return usagef("--checkpoint and --json need --output")
			}
			job.Command, job.From, job.To = "export", url, output
			if err := checkTransfer(job, 1); err != nil {
				return err
			}
			state, resumed, err := readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			return withExisting(ctx, url, func(from *kv.Store) error {
				file, complete, err := openExport(output, state, resumed, force, checkpoint != "")
				if err != nil {
					return err
				}
				r := result{Command: "export", Resumed: resumed, Counts: state.Counts}
				if !complete {
					m := newMeter("exported", "entries", state.Counts.Done())
					if output == "" && isTerminal(os.Stdout) {
						m.bar = nil // the entries are on the screen themselves
					}
					counting, cancel := context.WithCancel(ctx)
					defer cancel()
					m.count(counting, from, job.Prefix, state.Position.Key)
					err = r.run(ctx, m, job, checkpoint, transfer.Config{
						Source: transfer.FromStore(from, job.Prefix),
						Sink:   transfer.ToLines(file, state.Mark),
						From:   state,
					})
					cancel()
					if err := closeExport(file, output, err, checkpoint != ""); err != nil {
						return err
					}
				}
				if err := removeCheckpoint(checkpoint); err != nil {
					return err
				}
				return r.print(asJSON)
			})
		},
	}
	addTransferFlags(cmd, &job, &checkpoint, &asJSON)
	cmd.Flags().StringVar(&job.Prefix, "prefix", "", "only keys that begin with this")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file instead of standard output")
	cmd.Flags().BoolVar(&force, "force", false, "replace the output file if it exists")
	_ = cmd.MarkFlagFilename("output")
	return cmd
}

// partial is the name of an export's file while it is not complete.
func partial(output string) string { return output + ".partial" }

// openExport opens what an export writes to, at the place where state was saved.
// It may turn out to be complete: only the checkpoint was left behind.
func openExport(output string, state transfer.State, resumed, force, keep bool) (file *os.File, complete bool, err error) {
	if output == "" {
		return os.Stdout, false, nil
	}
	info, statErr := os.Stat(output)
	_, partialErr := os.Stat(partial(output))
	switch {
	case resumed && errors.Is(partialErr, fs.ErrNotExist) && statErr == nil && info.Size() == state.Mark:
		return nil, true, nil
	case statErr == nil && !info.Mode().IsRegular():
		// A pipe or a device takes what it gets, and has no other name meanwhile.
		if keep {
			return nil, false, usagef("--checkpoint needs an --output that is a file")
		}
		file, err = os.OpenFile(output, os.O_WRONLY, 0)
		return file, false, err
	case statErr == nil && !force:
		return nil, false, usagef("%s exists already; replace it by --force, or name another file", output)
	}
	flags := os.O_WRONLY | os.O_CREATE
	if !resumed {
		flags |= os.O_TRUNC
	}
	if file, err = os.OpenFile(partial(output), flags, 0o600); err != nil || !resumed {
		return file, false, err
	}
	if info, err = file.Stat(); err == nil && info.Size() < state.Mark {
		err = fmt.Errorf("%s has %d bytes, of which the checkpoint knows %d; delete both to start over", partial(output), info.Size(), state.Mark)
	}
	if err == nil {
		err = file.Truncate(state.Mark) // what was written behind the last checkpoint
	}
	if err == nil {
		_, err = file.Seek(state.Mark, io.SeekStart)
	}
	if err != nil {
		return nil, false, errors.Join(err, file.Close())
	}
	return file, false, nil
}

// closeExport gives a complete file its name. One that an error cut off stays for
// the next run if keep is set.
func closeExport(file *os.File, output string, err error, keep bool) error {
	if output == "" {
		return err
	}
	info, statErr := file.Stat()
	regular := statErr == nil && info.Mode().IsRegular()
	if err == nil && regular {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	switch {
	case !regular:
		return err
	case err == nil:
		err = os.Rename(partial(output), output)
		transfer.SyncFolder(output)
	case !keep:
		_ = os.Remove(partial(output)) // of no use to anybody, and the first error matters
	}
	return err
}

func newImport() *cobra.Command {
	var (
		job               transfer.Job
		checkpoint, input string
		parallel          int
		asJSON            bool
	)
	cmd := &cobra.Command{
		Use:   "import [URL]",
		Short: "Store the entries of a file of lines of JSON",
		Long: `Store the entries that export or scan wrote, or anybody else in their format, from
standard input or the file that --input names: an object of JSON a line, with the "key",
the "value" (or "base64"), and "expiresAt", an instant, if it expires. Of several lines
with one key the last one wins, with --if-absent the first one. Entries that have expired
by now are left out.

A line that is no entry ends the import with its number; those before it are stored.

` + checkpointHelp,
		Example: `  skykv import file:app.db --input app.jsonl
  gunzip < users.jsonl.gz | skykv import dynamodb://cache
  skykv scan file:a.db --prefix user: | skykv import file:b.db --if-absent`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := splitURL(args, 0)
			if err != nil {
				return err
			}
			job.Command, job.To = "import", url
			open := func(int64) (io.Reader, error) { return interruptible(ctx, os.Stdin), nil }
			if input != "" {
				file, err := os.Open(input)
				if err != nil {
					return err
				}
				defer file.Close()
				info, err := file.Stat()
				if err != nil {
					return err
				}
				if checkpoint != "" && !info.Mode().IsRegular() {
					return usagef("--checkpoint needs an --input that is a file")
				}
				if job.From, err = filepath.Abs(input); err != nil {
					return err
				}
				job.Size, job.Modified = info.Size(), info.ModTime().UnixNano()
				open = func(offset int64) (io.Reader, error) {
					if offset > 0 {
						if _, err := file.Seek(offset, io.SeekStart); err != nil {
							return nil, err
						}
					}
					return interruptible(ctx, file), nil
				}
			} else if checkpoint != "" {
				return usagef("--checkpoint needs --input: standard input cannot be read again")
			}
			if err := checkTransfer(job, parallel); err != nil {
				return err
			}
			state, resumed, err := readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			return withStore(ctx, url, func(to *kv.Store) error {
				if input == "" && isTerminal(os.Stdin) {
					fmt.Fprintln(os.Stderr, "skykv: type lines of JSON, then Ctrl-D")
				}
				r := result{Command: "import", Resumed: resumed, Counts: state.Counts}
				m := newMeter("imported", "entries", state.Counts.Done())
				counting, cancel := context.WithCancel(ctx)
				defer cancel()
				if input != "" {
					m.countLines(counting, input, state.Position.Offset)
				}
				err := r.run(ctx, m, job, checkpoint, transfer.Config{
					Source: transfer.FromLines(open),
					Sink:   transfer.ToStore(to, parallel, job.IfAbsent),
					From:   state,
				})
				if err != nil {
					if input != "" {
						err = fmt.Errorf("%s: %w", input, err)
					}
					return err
				}
				if err := removeCheckpoint(checkpoint); err != nil {
					return err
				}
				return r.print(asJSON)
			})
		},
	}
	addTransferFlags(cmd, &job, &checkpoint, &asJSON)
	cmd.Flags().StringVarP(&input, "input", "i", "", "read this file instead of standard input")
	cmd.Flags().BoolVar(&job.IfAbsent, "if-absent", false, "only entries whose keys the store does not have")
	cmd.Flags().IntVar(&parallel, "parallel", 4, "how many batches of up to 500 entries are written at once")
	_ = cmd.MarkFlagFilename("input")
	return cmd
}

func addTransferFlags(cmd *cobra.Command, job *transfer.Job, checkpoint *string, asJSON *bool) {
	cmd.Flags().StringVar(checkpoint, "checkpoint", "", "keep the state in this file, and go on from it")
	cmd.Flags().BoolVar(asJSON, "json", false, "print the result as JSON")
	_ = cmd.MarkFlagFilename("checkpoint")
}

func checkTransfer(job transfer.Job, parallel int) error {
	if parallel < 1 || parallel > 64 {
		return usagef("--parallel is %d; allowed are 1 to 64", parallel)
	}
	return kv.ValidatePrefix(job.Prefix)
}

func readCheckpoint(path string, job transfer.Job) (transfer.State, bool, error) {
	if path == "" {
		return transfer.State{}, false, nil
	}
	return transfer.ReadCheckpoint(path, job)
}

func removeCheckpoint(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	transfer.SyncFolder(path)
	return nil
}

// result is what a transfer prints at its end.
type result struct {
	Command string `json:"command"`
	Resumed bool   `json:"resumed"`
	transfer.Counts
	Seconds     float64 `json:"seconds"`
	Compared    *int64  `json:"compared,omitempty"`
	Differences *int64  `json:"differences,omitempty"`
}

// run runs a transfer, tells how it goes, and says what can be done when it ends early.
func (r *result) run(ctx context.Context, m *meter, job transfer.Job, checkpoint string, c transfer.Config) error {
	if r.Resumed {
		m.say("going on behind %s of an earlier run", entries(c.From.Counts.Done()))
	}
	c.SaveEvery = saveEvery
	c.Progress = func(s transfer.State) { m.update(s.Counts.Done()) }
	c.Failed = func(key string, err error) { m.say("skykv: entry %q: %v", key, err) }
	if checkpoint != "" {
		c.Save = func(s transfer.State) error { return transfer.WriteCheckpoint(checkpoint, job, s) }
	}
	state, err := transfer.Run(ctx, c)
	m.hide()
	r.Counts, r.Seconds = state.Counts, time.Since(m.begun).Seconds()
	if err != nil {
		next := "Entries that were written stay written; to start over does no harm. With --checkpoint FILE, a run can go on where it was cut off."
		if checkpoint != "" {
			next = "To go on from there, run the same command again."
		}
		return transferError{fmt.Errorf("%w\n%s %s until then. %s", err, m.verb, entries(state.Counts.Done()), next)}
	}
	m.done = state.Counts.Done()
	m.say("%s %s in %s, %s/s%s", m.verb, entries(r.Written), time.Since(m.begun).Round(time.Millisecond), thousands(m.rate()), r.others())
	return nil
}

// transferError is the error of a transfer. Whether its last writes were applied
// is of no interest: the next run makes them again.
type transferError struct{ error }

func (e transferError) Unwrap() error { return e.error }

// others tells what became of the entries that were not written.
func (r *result) others() (text string) {
	for _, other := range []struct {
		n   int64
		how string
	}{
		{r.Skipped, "were there already"}, {r.Expired, "expired meanwhile"}, {r.Failed, "could not be read"},
	} {
		if other.n > 0 {
			text += fmt.Sprintf("; %s %s", thousands(other.n), other.how)
		}
	}
	return text
}

// compare compares both sides, and prints the differences.
func (r *result) compare(ctx context.Context, from, to *kv.Store, prefix string, asJSON bool) error {
	m := newMeter("compared", "entries", 0)
	defer m.hide()
	counting, cancel := context.WithCancel(ctx)
	defer cancel()
	m.count(counting, from, prefix, "")
	var differences int64
	keys, err := transfer.Compare(ctx, from, to, prefix, func(d transfer.Difference) error {
		differences++
		m.hide()
		if asJSON {
			return printJSON(d)
		}
		_, err := fmt.Printf("%-10s %s\n", d.Kind, d.Key)
		return err
	}, m.update)
	if err != nil {
		return fmt.Errorf("comparing, behind %s: %w", entries(keys), err)
	}
	r.Compared, r.Differences = &keys, &differences
	m.say("compared %s: %s differ", entries(keys), thousands(differences))
	return nil
}

// print prints the result as JSON if asked to, and gives the exit code.
func (r *result) print(asJSON bool) error {
	if asJSON {
		if err := printJSON(r); err != nil {
			return err
		}
	}
	switch {
	case r.Failed > 0:
		return fmt.Errorf("%s could not be read, see above", entries(r.Failed))
	case r.Differences != nil && *r.Differences > 0:
		return quiet(exitFindings)
	}
	return nil
}

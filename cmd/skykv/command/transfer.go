package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/command/internal/transfer"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// saveEvery is the time between two writes of a checkpoint. After a crash, the next run repeats
// about that much work.
const saveEvery = 250 * time.Millisecond

const checkpointHelp = `With --checkpoint, the state is kept in a file, a few times a second and in one step: after
any interruption, even kill -9 or a power cut, the same command continues where it
stopped. The file is removed at the end. It belongs to these two sides: delete it if one
of them is replaced.`

func (c *cli) newCopy() *cobra.Command {
	var (
		job                        transfer.Job
		checkpoint                 string
		parallel                   int
		verify, verifyOnly, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy entries from one store to another",
		Long: `Copy all entries, or those with --prefix, from one store to another of any kind, while both
are in use. Entries expire in TO at the same instant as in FROM, to the millisecond. Other
entries of TO stay. If an entry is written meanwhile, its old or its new state is copied.
Entries that TO cannot hold, because they are too large or its service reserves the key, are
printed and skipped, and the command then exits with 1: see max-value in the form of its
URL.

` + checkpointHelp + `

With --verify, compare both sides at the end and print every key in which they differ:
missing (only in FROM), extra (only in TO), value, expiry, or unreadable. Exits with 7 if
there is any difference and no entry was skipped. The result is meaningful only if nobody
writes to either side.

On a terminal, a second scan of FROM's keys counts the total for the bar.`,
		Example: `  skykv copy file:app.db 'dynamodb://cache?region=eu-central-1'
  skykv copy dynamodb://cache firestore://my-project/kv --checkpoint copy.state --verify
  skykv copy dynamodb://cache aztables://account/cache --prefix user: --if-not-exists
  skykv copy dynamodb://cache file:backup.db --verify-only`,
		Args: rangeArgs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := checkTransferFlags(job.Prefix, checkpoint, parallel); err != nil {
				return err
			}
			source, err := c.stores.Connect(ctx, args[0])
			if err != nil {
				return err
			}
			defer source.Close()
			target, err := c.stores.Connect(ctx, args[1])
			if err != nil {
				return err
			}
			defer target.Close()
			job.Command, job.From, job.To = "copy", c.identity(args[0], source), c.identity(args[1], target)
			if err := c.checkSides(job, checkpoint); err != nil {
				return err
			}
			state, resumed, err := c.readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			if err := c.mustExist(args[0]); err != nil {
				return err
			}
			if verifyOnly {
				if err := c.mustExist(args[1]); err != nil {
					return err
				}
			}
			return withOpened(ctx, source.Open, func(from *kv.Store) error {
				return withOpened(ctx, target.Open, func(to *kv.Store) error {
					r := result{Command: "copy", Resumed: resumed, Counts: state.Counts}
					if !verifyOnly {
						if err := begin(checkpoint, job, state); err != nil {
							return err
						}
						m := newMeter("copied", "entries", state.Counts.Done())
						compareLimits(m, from.Info(), to.Info())
						counting, cancel := context.WithCancel(ctx)
						defer cancel()
						m.count(counting, from, job.Prefix, state.Position.Key)
						err := r.run(ctx, m, job, checkpoint, transfer.Config{
							Source: transfer.FromStore(from, job.Prefix),
							Sink:   transfer.ToStore(to, parallel, job.IfNotExists),
							From:   state,
						})
						cancel()
						if err != nil {
							return err
						}
					}
					if verify || verifyOnly {
						if err := r.compare(ctx, from, to, job.Prefix, asJSON); err != nil {
							return err
						}
					}
					if !verifyOnly { // only after the comparison: if it is interrupted, the next run copies nothing again
						if err := removeCheckpoint(checkpoint); err != nil {
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
	cmd.Flags().BoolVar(&job.IfNotExists, "if-not-exists", false, "only entries whose keys TO does not have")
	cmd.Flags().IntVar(&parallel, "parallel", 4, "number of batches of up to 500 entries that are written at once")
	cmd.Flags().BoolVar(&verify, "verify", false, "compare both sides at the end, and report differences")
	cmd.Flags().BoolVar(&verifyOnly, "verify-only", false, "copy nothing, but compare both sides")
	cmd.MarkFlagsMutuallyExclusive("checkpoint", "verify-only")
	return cmd
}

func (c *cli) newExport() *cobra.Command {
	var (
		job                transfer.Job
		checkpoint, output string
		force, asJSON      bool
	)
	cmd := &cobra.Command{
		Use:   "export [URL]",
		Short: "Write entries to a file, as lines of JSON",
		Long: `Write all entries, or those with --prefix, in order of their keys as lines of JSON to
standard output, or to the file of --output: the key, the "value" (or "base64", if it is
not UTF-8 text), and "expiresAt" if it expires.

The file gets its name when it is complete; until then it is NAME.partial. Files with
these names are replaced only with --force, and keep their mode. Links to files are not
followed.

` + checkpointHelp,
		Example: `  skykv export file:app.db --output app.jsonl
  skykv export dynamodb://cache --prefix user: | gzip > users.jsonl.gz
  skykv export dynamodb://cache -o kv.jsonl --checkpoint export.state`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			if output == standard {
				output = ""
			}
			if output == "" && (checkpoint != "" || asJSON) {
				return usagef("--checkpoint and --json need an --output that is a file")
			}
			if err := checkTransferFlags(job.Prefix, checkpoint, 1); err != nil {
				return err
			}
			source, err := c.stores.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer source.Close()
			job.Command, job.From = "export", c.identity(url, source)
			if output != "" {
				if job.To, err = filepath.Abs(output); err != nil {
					return err
				}
			}
			if err := c.checkSides(job, checkpoint); err != nil {
				return err
			}
			state, resumed, err := c.readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			var at newFile
			complete := false
			if output != "" {
				if at, complete, err = checkExport(output, state.Mark, resumed, force, checkpoint != ""); err != nil {
					return err
				}
			}
			if err := c.mustExist(url); err != nil {
				return err
			}
			return withOpened(ctx, source.Open, func(from *kv.Store) error {
				r := result{Command: "export", Resumed: resumed, Counts: state.Counts}
				if !complete {
					// The checkpoint must exist before the partial file does. Without it, the
					// next run would refuse the partial file.
					if err := begin(checkpoint, job, state); err != nil {
						return err
					}
					m := newMeter("exported", "entries", state.Counts.Done())
					var file *os.File
					var sink io.Writer = stdout
					switch {
					case output == "" && stdout.terminal:
						m.bar = nil // the entries themselves are on the screen
					case output == "":
					case resumed && at.begun:
						file, err = at.reopen(state.Mark)
						sink = file
					default:
						file, err = at.create()
						sink = file
					}
					if err != nil {
						if !resumed {
							err = errors.Join(err, removeCheckpoint(checkpoint))
						}
						return err
					}
					if at.special {
						sink = newStream(file)
					}
					counting, cancel := context.WithCancel(ctx)
					defer cancel()
					m.count(counting, from, job.Prefix, state.Position.Key)
					err = r.run(ctx, m, job, checkpoint, transfer.Config{
						Source: transfer.FromStore(from, job.Prefix),
						Sink:   transfer.ToLines(sink, state.Mark),
						From:   state,
					})
					cancel()
					if output != "" {
						err = closeExport(at, file, err, r.kept, force)
					}
					if err != nil {
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
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file instead of standard output; - is standard output")
	cmd.Flags().BoolVar(&force, "force", false, "replace the output file if it exists")
	_ = cmd.MarkFlagFilename("output")
	return cmd
}

// checkExport examines the file that an export will write. If an earlier run completed the
// file, but did not remove its checkpoint, complete is true. Such a run may have been killed when
// the file had both names. checkExport then removes the partial name.
func checkExport(output string, mark transfer.Mark, resumed, force, keep bool) (at newFile, complete bool, err error) {
	if at, err = findNewFile(output, 0o600); err != nil {
		return at, false, err
	}
	switch {
	case at.special && keep:
		return at, false, usagef("--checkpoint needs an --output that is a file")
	case at.special:
		return at, false, nil
	case at.exists && resumed && mark.Length > 0 && (!at.begun || sameFile(output, partial(output))):
		file, err := os.Open(output)
		if err != nil {
			return at, false, err
		}
		info, err := file.Stat()
		complete = err == nil && info.Size() == mark.Length && mark.Check(file) == nil
		_ = file.Close() // first, because Windows removes no name of an open file
		if complete && at.begun {
			return at, true, os.Remove(partial(output))
		}
		if complete {
			return at, true, nil
		}
	}
	switch {
	case force:
	case resumed && at.exists:
		return at, false, at.errExists()
	case !resumed && at.errExists() != nil:
		return at, false, at.errExists()
	}
	if resumed && !at.begun && mark.Length > 0 {
		return at, false, fmt.Errorf("%s does not exist any more; delete the checkpoint to start over", partial(output))
	}
	return at, false, nil
}

// closeExport closes the file of an export. If err is nil, the file is complete, and
// closeExport renames it to its final name. Otherwise closeExport removes the file, with two
// exceptions. If keep is set, the file stays, because the next run will continue it. A pipe or
// a device also stays.
func closeExport(at newFile, file *os.File, err error, keep, force bool) error {
	switch {
	case err == nil:
		return at.finish(file, force)
	case keep || at.special:
		_ = file.Close() // its error matters less than err
		return err
	}
	if discardErr := at.discard(file); discardErr != nil {
		return errors.Join(err, discardErr)
	}
	return fmt.Errorf("%w\nThe unfinished %s was removed", err, partial(at.path))
}

func (c *cli) newImport() *cobra.Command {
	var (
		job               transfer.Job
		checkpoint, input string
		parallel          int
		asJSON            bool
	)
	cmd := &cobra.Command{
		Use:   "import [URL]",
		Short: "Store the entries of a file of lines of JSON",
		Long: `Store the entries that export or scan wrote, or another program in the same format, from
standard input or the file of --input: one JSON object a line, with the "key", the "value"
(or "base64"), and "expiresAt", an instant, if it expires. If several lines have one key,
the last one wins, with --if-not-exists the first. Lines that have already expired are
skipped, and so is a byte order mark at the beginning.

A line that is not an entry ends the import with its number; the lines before it are stored.
Entries that the store cannot hold, because they are too large or its service reserves the
key, are printed and skipped, and the command then exits with 1: see max-value in the form
of its URL.

` + checkpointHelp,
		Example: `  skykv import file:app.db --input app.jsonl
  gunzip < users.jsonl.gz | skykv import dynamodb://cache
  skykv scan file:a.db --prefix user: | skykv import file:b.db --if-not-exists`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			if input == standard {
				input = ""
			}
			if err := checkTransferFlags("", checkpoint, parallel); err != nil {
				return err
			}
			target, err := c.stores.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer target.Close()
			job.Command, job.To = "import", c.identity(url, target)
			open := func(ctx context.Context, _ int64) (io.Reader, error) { return interruptible(ctx, os.Stdin), nil }
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
				open = func(ctx context.Context, offset int64) (io.Reader, error) {
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
			if err := c.checkSides(job, checkpoint); err != nil {
				return err
			}
			state, resumed, err := c.readCheckpoint(checkpoint, job)
			if err != nil {
				return err
			}
			return withOpened(ctx, target.Open, func(to *kv.Store) error {
				if err := begin(checkpoint, job, state); err != nil {
					return err
				}
				if input == "" && isTerminal(os.Stdin) {
					fmt.Fprintln(stderr, "skykv: type lines of JSON, then Ctrl-D")
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
					Sink:   transfer.ToStore(to, parallel, job.IfNotExists),
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
	cmd.Flags().StringVarP(&input, "input", "i", "", "read this file instead of standard input; - is standard input")
	cmd.Flags().BoolVar(&job.IfNotExists, "if-not-exists", false, "only entries whose keys the store does not have")
	cmd.Flags().IntVar(&parallel, "parallel", 4, "number of batches of up to 500 entries that are written at once")
	_ = cmd.MarkFlagFilename("input")
	return cmd
}

func addTransferFlags(cmd *cobra.Command, job *transfer.Job, checkpoint *string, asJSON *bool) {
	cmd.Flags().StringVar(checkpoint, "checkpoint", "", "keep the state in this file, and continue from it")
	cmd.Flags().BoolVar(asJSON, "json", false, "print the result as JSON")
	_ = cmd.MarkFlagFilename("checkpoint")
}

// checkTransferFlags returns an error if a flag is wrong. It does no I/O.
func checkTransferFlags(prefix, checkpoint string, parallel int) error {
	if parallel < 1 || parallel > 64 {
		return usagef("--parallel is %d; want 1 to 64", parallel)
	}
	if checkpoint == standard {
		return usagef("--checkpoint needs a file: it is read again by the next run")
	}
	return kv.ValidatePrefix(prefix)
}

// compareLimits prints a warning if a copy may have to skip entries with large values.
func compareLimits(m *meter, from, to kv.Info) {
	if from.MaxValueLen > to.MaxValueLen {
		m.say("FROM takes values of up to %d bytes, TO of up to %d: larger entries are printed and skipped", from.MaxValueLen, to.MaxValueLen)
	}
}

// checkSides returns an error if both sides of a transfer are the same, or if the checkpoint
// is one of them. It opens neither side.
func (c *cli) checkSides(job transfer.Job, checkpoint string) error {
	if job.From == job.To {
		return usagef("the source and the destination are the same store")
	}
	sources, targets := c.filesOf(job.From), c.filesOf(job.To)
	for _, source := range sources {
		if slices.ContainsFunc(targets, func(target string) bool { return sameFile(source, target) }) {
			return usagef("the source and the destination are the same file, %s", source)
		}
	}
	if checkpoint == "" {
		return nil
	}
	for _, path := range slices.Concat(sources, targets) {
		if sameFile(checkpoint, path) || sameFile(transfer.NextCheckpoint(checkpoint), path) {
			return usagef("--checkpoint would overwrite %s, which this command reads or writes; name another file", path)
		}
	}
	return nil
}

// identity returns a text that identifies a store, however its URL is spelled. For a file, the
// text has the absolute path, because a relative path depends on the current folder. identity
// does not resolve symbolic links, so two links to one file have different texts.
func (c *cli) identity(store string, conn provider.Connection) string {
	files := c.stores.Files(store)
	if len(files) == 0 {
		return conn.Identity()
	}
	path, err := filepath.Abs(files[0])
	if err != nil {
		path = files[0]
	}
	return (&url.URL{Scheme: provider.Scheme(store), Path: path}).String()
}

// filesOf returns the files of one side of a job. The side is the URL of a store, or the path of
// a file of lines of JSON. With a path, filesOf also returns the name of the incomplete file.
func (c *cli) filesOf(side string) []string {
	if side == "" || c.isURL(side) {
		return c.stores.Files(side)
	}
	return []string{side, partial(side)}
}

// sameFile reports whether two paths lead to the same file. If one of them has no file yet,
// sameFile compares their folders and names.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(infoA, infoB)
	}
	if filepath.Base(a) != filepath.Base(b) {
		return false
	}
	infoA, errA = os.Stat(filepath.Dir(a))
	infoB, errB = os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// readCheckpoint reads the state of job, if there is a checkpoint. It also returns an error if
// the store that earlier runs filled does not exist any more.
func (c *cli) readCheckpoint(path string, job transfer.Job) (transfer.State, bool, error) {
	if path == "" {
		return transfer.State{}, false, nil
	}
	state, resumed, err := transfer.ReadCheckpoint(path, job)
	if why := noStore(c.stores.Files(job.To)); err == nil && resumed && why != "" {
		return state, resumed, fmt.Errorf("the checkpoint %s is of a run into %s, but %s; delete the checkpoint to start over", path, job.To, why)
	}
	return state, resumed, err
}

// begin saves the initial state of a transfer. If the checkpoint cannot be written, begin
// reports that before the first entry is written.
func begin(checkpoint string, job transfer.Job, state transfer.State) error {
	if checkpoint == "" {
		return nil
	}
	return transfer.WriteCheckpoint(checkpoint, job, state)
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

// result is the summary that a transfer prints at its end.
type result struct {
	Command string `json:"command"`
	Resumed bool   `json:"resumed"`
	transfer.Counts
	Seconds     float64 `json:"seconds"`
	Compared    *int64  `json:"compared,omitempty"`
	Differences *int64  `json:"differences,omitempty"`

	kept bool // there is a checkpoint to continue from
}

// run runs a transfer, reports its progress, and says how to continue, if that is possible, when
// it ends early.
func (r *result) run(ctx context.Context, m *meter, job transfer.Job, checkpoint string, c transfer.Config) error {
	if r.Resumed {
		m.say("resuming after %s of an earlier run", entries(c.From.Counts.Done()))
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
		next := ""
		r.kept = checkpoint != "" && state != (transfer.State{})
		switch {
		case r.kept:
			next = " To continue, run the same command again."
		case checkpoint != "":
			err = errors.Join(err, removeCheckpoint(checkpoint))
		case job.Command != "export":
			next = " The written entries stay; starting over does no harm. With --checkpoint FILE, a run can continue where it stopped."
		}
		return transferError{fmt.Errorf("%w\n%s %s before that.%s", err, m.verb, entries(state.Counts.Done()), next)}
	}
	m.done = state.Counts.Done()
	m.say("%s %s in %s, %s/s%s", m.verb, entries(r.Written), time.Since(m.begun).Round(time.Millisecond), thousands(m.rate()), r.others())
	return nil
}

// transferError is the error of a transfer. It does not matter whether the last writes of the
// transfer were applied, because the next run repeats them.
type transferError struct{ error }

func (e transferError) Unwrap() error { return e.error }

// others returns the numbers of entries that were not written.
func (r *result) others() (text string) {
	for _, other := range []struct {
		n   int64
		how string
	}{
		{r.Skipped, "existed already"}, {r.Expired, "expired meanwhile"}, {r.Failed, "could not be read"}, {r.Refused, "were refused"},
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
		_, err := fmt.Fprintf(stdout, "%-10s %s\n", d.Kind, d.Key)
		return err
	}, m.update)
	if err != nil {
		return fmt.Errorf("comparing, after %s: %w", entries(keys), err)
	}
	r.Compared, r.Differences = &keys, &differences
	m.say("compared %s: %s differ", entries(keys), thousands(differences))
	return nil
}

// print prints the result if JSON is wanted, and returns the error that decides the exit code.
func (r *result) print(asJSON bool) error {
	if asJSON {
		if err := printJSON(r); err != nil {
			return err
		}
	}
	switch {
	case r.Failed > 0:
		return fmt.Errorf("%s could not be read, see above", entries(r.Failed))
	case r.Refused > 0:
		return fmt.Errorf("skipped %s that the target store cannot hold, see above", entries(r.Refused))
	case r.Differences != nil && *r.Differences > 0:
		return quiet(exitFindings)
	}
	return nil
}

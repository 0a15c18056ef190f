package command

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/watch"
)

func (c *cli) newWatch() *cobra.Command {
	asJSON, every := false, 2*time.Second
	cmd := &cobra.Command{
		Use:   "watch [URL] [PREFIX]",
		Short: "Print entries as they change",
		Long: `Print the entries whose keys begin with PREFIX, and then each one again when it changes:
when it is put, touched or deleted, or expires. Lines are those of scan, with "deleted":true
for an entry that is gone. A terminal is shown a table, unless --json is given.

The store is asked every two seconds, or as --every says. It prints the latest state: of
several changes between two times, the last. Each time costs as much as scan --keys-only,
and a read of what changed. An error is printed, and nothing is lost: the next time prints
what this one missed. Ctrl-C ends it: it then exits with 0.`,
		Example: `  skykv watch file:app.db session:
  skykv watch "$STORE" job: --every 30s | jq -r 'select(.deleted) | .key'`,
		Args: rangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, prefix, err := c.splitPrefix(args)
			if err != nil {
				return err
			}
			if every < time.Second {
				return usagef("--every is %s; want at least 1s", every)
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				out := newOutput()
				print := out.change
				if stdout.terminal && !asJSON {
					print = newTable(out, stdout.file).change
				}
				var last error
				for change, err := range watch.Watch(cmd.Context(), store, prefix, every) {
					if cmd.Context().Err() != nil {
						return unlessInterrupted(cmd.Context())
					}
					last = err
					switch {
					case err != nil && change.Key != "":
						warnEntry(change.Key, err)
					case err != nil:
						fmt.Fprintf(stderr, "skykv: %v\n", err)
					default:
						if err := errors.Join(print(change), out.Flush()); err != nil {
							return err
						}
					}
				}
				// Watch ends only after an error that every later poll would return.
				code, _ := explain(cmd.Context(), last)
				return quiet(code) // the loop has printed the error
			})
		},
	}
	durationVar(cmd.Flags(), &every, "every", "ask the store again after this time")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON, also on a terminal")
	return cmd
}

// change prints a change as a line of JSON.
func (o *output) change(change watch.Change) error {
	if !change.Deleted {
		return o.json(change.Entry)
	}
	_, err := o.WriteString(`{"key":"` + change.Key + `","deleted":true}` + "\n") // keys have no characters that JSON must escape
	return err
}

// change prints a change as a row.
func (t *table) change(change watch.Change) error {
	if !t.began {
		t.key = t.width / 3
	}
	if change.Deleted {
		return errors.Join(t.row(row{key: change.Key, left: "gone"}), t.flush())
	}
	return errors.Join(t.entry(change.Entry), t.flush())
}

package command

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv"
)

func (c *cli) newList() *cobra.Command {
	var (
		asJSON    bool
		delimiter string
	)
	cmd := &cobra.Command{
		Use:   "ls [URL] [PREFIX]",
		Short: "List keys, as folders",
		Long: `List the keys that begin with PREFIX, in ascending byte order. Keys that go on with the
delimiter are one line, which ends with it, as a folder does. With --json, print lines of
JSON: a "key" or a "folder".`,
		Example: `  skykv ls file:app.db
  skykv ls file:app.db user: --delimiter :

With KV_URL set:
  skykv ls user42:: --delimiter ::`,
		Args: rangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := len(args) // the arguments that are no URL
			if n == 2 || n == 1 && c.isURL(args[0]) {
				n--
			}
			url, rest, err := c.splitURL(args, n)
			if err != nil {
				return err
			}
			prefix := strings.Join(rest, "")
			if err := kv.ValidatePrefix(prefix); err != nil {
				return err
			}
			if kv.ValidateKey(delimiter) != nil {
				return usagef("--delimiter is %.40q; want characters of keys, such as : or .", delimiter)
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) (err error) {
				out := newOutput()
				defer func() {
					if flushErr := out.Flush(); err == nil { // else it is likely the same
						err = flushErr
					}
				}()
				return list(cmd.Context(), store, prefix, delimiter, func(name string, folder bool) error {
					line := []byte(name)
					if asJSON {
						line = listLine(name, folder)
					}
					if _, err := out.Write(append(line, '\n')); err != nil {
						return err
					}
					return out.line()
				})
			})
		},
	}
	cmd.Flags().StringVarP(&delimiter, "delimiter", "d", ":", "what ends the name of a folder")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON")
	return cmd
}

// listLine returns a line of ls --json. Keys need no escapes.
func listLine(name string, folder bool) []byte {
	kind := "key"
	if folder {
		kind = "folder"
	}
	return []byte(`{"` + kind + `":"` + name + `"}`)
}

// longFolder is after how many keys of a folder the rest of them is passed over by a scan
// of its own. That costs a request for each shard, and a page has about as many keys.
const longFolder = 1000

// list calls f for the keys and folders that follow a prefix, in order.
func list(ctx context.Context, store *kv.Store, prefix, delimiter string, f func(name string, folder bool) error) error {
	var (
		errLong = errors.New("the folder is long")
		folder  string
		after   string
		inside  int
	)
	for {
		err := eachEntry(store.Scan(ctx, prefix, kv.KeysOnly(), kv.After(after)), func(entry kv.Entry) error {
			name, _, within := strings.Cut(entry.Key[len(prefix):], delimiter)
			switch name = prefix + name + delimiter; {
			case !within:
				return f(entry.Key, false)
			case name != folder:
				folder, inside = name, 1
				return f(name, true)
			}
			if inside++; inside > longFolder {
				return errLong
			}
			return nil
		})
		if err != errLong {
			return err
		}
		after = folder + strings.Repeat("z", store.Info().MaxKeyLen-len(folder)) // the last key that there can be
	}
}

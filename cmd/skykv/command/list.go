package command

import (
	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/command/internal/folders"
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
		Long: `List the keys that begin with PREFIX, in ascending byte order. Keys with the delimiter
after the prefix are listed as folders, each in one line that ends with the delimiter.
With --json, print lines of JSON: a "key" or a "folder".`,
		Example: `  skykv ls file:app.db
  skykv ls file:app.db user: --delimiter :

With KV_URL set:
  skykv ls user42:: --delimiter ::`,
		Args: rangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, prefix, err := c.splitPrefix(args)
			if err != nil {
				return err
			}
			if kv.ValidateKey(delimiter) != nil {
				return usagef("--delimiter is %.40q; want characters of keys, such as : or .", delimiter)
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) (err error) {
				out := newOutput()
				defer func() {
					if flushErr := out.Flush(); err == nil { // if err is set, flushErr is probably the same error
						err = flushErr
					}
				}()
				return eachEntry(folders.List(cmd.Context(), store, prefix, delimiter, ""), func(entry kv.Entry) error {
					line := entry.Key
					switch { // keys have no characters that JSON must escape
					case asJSON && folders.Is(entry):
						line = `{"folder":"` + line + `"}`
					case asJSON:
						line = `{"key":"` + line + `"}`
					}
					if _, err := out.WriteString(line + "\n"); err != nil {
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

package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) newBackup() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup SRC DEST",
		Short: "Copy a store that is a file, while it is in use",
		Long: `Copy the store at SRC, the URL of a file, into the new file DEST: all entries with their
versions, as they are at one moment. Other processes go on reading and writing.

DEST appears when the copy is complete and on the disk; until then it is DEST.partial.
No file is replaced. DEST is the name of a file: skykv doctor file:DEST checks the copy.

Cloud services have their own backups. To copy the entries of any store, use copy or
export, which do not copy one moment.`,
		Example: `  skykv backup file:app.db app-monday.db
  skykv backup file:/var/lib/app/app.db "/backup/app-$(date +%F).db"`,
		Args: rangeArgs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == standard {
				return usagef("DEST is -; want the name of a file")
			}
			if path, isURL := strings.CutPrefix(args[1], "file:"); isURL {
				return usagef("DEST is a URL; want the name of a file, such as %s", path)
			}
			if err := c.stores.Backup(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			if asJSON {
				return printJSON(struct {
					Command string `json:"command"`
					File    string `json:"file"`
				}{"backup", args[1]})
			}
			_, err := fmt.Fprintln(stdout, "copied to "+args[1])
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

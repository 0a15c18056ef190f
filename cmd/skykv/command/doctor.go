package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv/provider"
)

func (c *cli) newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [URL]",
		Short: "Find out what is wrong with a store",
		Long: `Check what a store needs, one thing after another: that the service answers, that there
are credentials, the table or collection with its TTL and settings, the layout record, the
clock of this host against the service's, and how long a read takes. Each check prints a
line with ok, warn or fail, and what to do about it. Nothing is changed.

Exits with 7 if anything fails. With --json, print lines of JSON.`,
		Example: `  skykv doctor 'dynamodb://cache?region=eu-central-1'

With KV_URL set:
  skykv doctor --json | jq -r 'select(.status != "ok") | .fix'`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			failed := false
			for check := range c.stores.Inspect(ctx, url) {
				if ctx.Err() != nil {
					return context.Cause(ctx) // the check may have failed only because the context ended
				}
				failed = failed || check.Status == provider.Fail
				if err := printCheck(check, asJSON); err != nil {
					return err
				}
			}
			if failed {
				return quiet(exitFindings)
			}
			return context.Cause(ctx)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON")
	return cmd
}

func printCheck(check provider.Check, asJSON bool) error {
	if asJSON {
		return printJSON(check)
	}
	text := fmt.Sprintf("%-4s  %-12s %s\n", check.Status, check.Name, check.Detail)
	if check.Fix != "" {
		text += fmt.Sprintf("      %-12s -> %s\n", "", check.Fix)
	}
	_, err := fmt.Fprint(stdout, text)
	return err
}

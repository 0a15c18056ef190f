package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) newProvision() *cobra.Command {
	var (
		asJSON, dryRun bool
		print          string
	)
	cmd := &cobra.Command{
		Use:   "provision [URL]",
		Short: "Create the table, policies and settings of a store",
		Long: `Create what the store at URL needs and does not have yet: the table with its TTL on
DynamoDB, the TTL policy and the index exemptions of a collection on Firestore, the table
on Azure, the file, and the layout record. It changes nothing that exists, and refuses what
belongs to another program. It may be run any number of times.

A Firestore database, and an Azure storage account, must exist.`,
		Example: `  skykv provision 'dynamodb://cache?region=eu-central-1' --dry-run
  skykv provision firestore://my-project/kv

With KV_URL set:
  skykv provision --print terraform > kv.tf`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			if print != "" && print != "terraform" {
				return usagef("--print is %q; want terraform", print)
			}
			if print != "" {
				text, err := c.stores.Terraform(url)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(stdout, text)
				return err
			}
			steps, err := c.stores.Plan(ctx, url)
			if err == nil && len(steps) > 0 && !dryRun {
				err = c.stores.Ensure(ctx, url)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(struct {
					URL    string   `json:"url"`
					DryRun bool     `json:"dryRun"`
					Steps  []string `json:"steps"`
				}{url, dryRun, steps})
			}
			would := ""
			if dryRun {
				would = "would "
			}
			for _, step := range steps {
				if _, err := fmt.Fprintln(stdout, would+step); err != nil {
					return err
				}
			}
			if len(steps) == 0 {
				_, err = fmt.Fprintln(stdout, "nothing to do: everything is set up")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and do nothing")
	cmd.Flags().StringVar(&print, "print", "", "print the settings for another tool instead: terraform")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the steps as JSON")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "print")
	cmd.MarkFlagsMutuallyExclusive("json", "print")
	_ = cmd.RegisterFlagCompletionFunc("print", cobra.FixedCompletions([]string{"terraform"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

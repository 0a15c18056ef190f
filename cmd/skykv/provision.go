package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/internal/service"
	"github.com/skykv/skykv/kv"
)

func newProvision() *cobra.Command {
	var (
		asJSON, dryRun bool
		print          string
	)
	cmd := &cobra.Command{
		Use:   "provision [URL]",
		Short: "Create the table, policies and settings of a store",
		Long: `Create what the store at URL needs and does not have yet: the table with its TTL on
DynamoDB, the TTL policy and the index exemptions of a collection on Firestore, the table
on Azure, the file, and the layout record. What is there stays as it is; what belongs to
another program is refused. It may be run any number of times.

A Firestore database, and an Azure storage account, must exist.`,
		Example: `  skykv provision dynamodb://cache?region=eu-central-1 --dry-run
  skykv provision firestore://my-project/kv
  skykv provision --print terraform > kv.tf   # with KV_URL set`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			url, _, err := splitURL(args, 0)
			if err != nil {
				return err
			}
			if print != "" && print != "terraform" {
				return usagef("--print is %q; allowed is terraform", print)
			}
			s, err := service.New(ctx, url)
			if err != nil {
				return err
			}
			defer s.Close()
			if print != "" {
				text, err := s.Terraform()
				if err != nil {
					return err
				}
				_, err = os.Stdout.WriteString(text)
				return err
			}
			steps, err := provision(ctx, s, url, dryRun)
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
				if _, err := fmt.Println(would + step); err != nil {
					return err
				}
			}
			if len(steps) == 0 {
				_, err = fmt.Println("nothing to do: everything is set up")
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

// provision sets up what is missing, and gives the steps that this takes.
func provision(ctx context.Context, s service.Service, url string, dryRun bool) ([]string, error) {
	checks := s.Credentials(ctx)
	if !slices.ContainsFunc(checks, func(c service.Check) bool { return c.Status == service.Fail }) {
		checks = append(checks, s.Settings(ctx)...)
	}
	steps := []string{}
	for _, c := range checks {
		if c.Step != "" {
			steps = append(steps, c.Step)
		} else if c.Status == service.Fail {
			switch {
			case c.Name == "credentials":
				return nil, &kv.Error{Op: "provision", Kind: kv.ErrPermission, Err: fmt.Errorf("%w; %s", c.Err, c.Fix)}
			case c.Err != nil:
				return nil, fmt.Errorf("provision: %s: %w", c.Name, c.Err)
			}
			return nil, &kv.Error{Op: "provision", Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s: %s; %s", c.Name, c.Detail, c.Fix)}
		}
	}
	if dryRun || len(steps) == 0 {
		return steps, nil
	}
	if err := s.Provision(ctx); err != nil {
		return nil, err
	}
	// The layout record is made by the first one to open the store.
	return steps, withStore(ctx, url, func(*kv.Store) error { return nil })
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [URL]",
		Short: "Find out what is wrong with a store",
		Long: `Check, one after the other, what a store needs: that the service answers, that there
are credentials, the table or collection with its TTL and settings, the layout record, the
clock of this host against the service's, and how long a read takes. Each is a line with
ok, warn or fail, and what to do about it. Nothing is changed.

Exits with 7 if anything fails. With --json, print lines of JSON.`,
		Example: `  skykv doctor dynamodb://cache?region=eu-central-1
  skykv doctor --json | jq -r 'select(.status != "ok") | .fix'   # with KV_URL set`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := splitURL(args, 0)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			failed := false
			service.Diagnose(ctx, url, func(c service.Check) {
				if ctx.Err() != nil {
					return // it failed for no other reason
				}
				failed = failed || c.Status == service.Fail
				if err := printCheck(c, asJSON); err != nil {
					cancel(err)
				}
			})
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case failed:
				return quiet(exitFindings)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON")
	return cmd
}

func printCheck(c service.Check, asJSON bool) error {
	if asJSON {
		return printJSON(c)
	}
	text := fmt.Sprintf("%-4s  %-12s %s\n", c.Status, c.Name, c.Detail)
	if c.Fix != "" {
		text += fmt.Sprintf("      %-12s -> %s\n", "", c.Fix)
	}
	_, err := fmt.Print(text)
	return err
}

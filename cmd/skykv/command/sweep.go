package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv/provider"
)

// sweepRate is the default limit of entries that are deleted per second.
const sweepRate = 500

func (c *cli) newSweep() *cobra.Command {
	var (
		asJSON   bool
		interval time.Duration
		rate     int
	)
	cmd := &cobra.Command{
		Use:   "sweep [URL]",
		Short: "Delete expired entries from Azure Tables",
		Long: `Delete the entries of an Azure table that expired more than an hour ago. The service does
not delete them itself. Stores treat them as absent in any case; they only cost storage.
An entry that was re-created meanwhile stays. Other services delete expired entries.

With --interval it runs until it is interrupted, and prints a line for each pass.`,
		Example: `  skykv sweep aztables://account/cache

With KV_URL set:
  skykv sweep --interval 6h --rate 200`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			if rate < 1 {
				return usagef("--rate is %d; want at least 1", rate)
			}
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			opts := &provider.SweepOptions{Interval: interval, Rate: rate}
			opts.Progress = func(p provider.SweepProgress) {
				if p.Done && interval > 0 && ctx.Err() == nil {
					if err := printSweep(p, asJSON); err != nil {
						cancel(err) // nobody would read the output of the next pass
					}
				}
			}
			p, err := c.stores.Sweep(ctx, url, opts)
			switch {
			case interval > 0 && ctx.Err() != nil:
				return context.Cause(ctx)
			case err == nil:
				return printSweep(p, asJSON)
			case p.Deleted > 0:
				fmt.Fprintf(stderr, "deleted %s before that\n", entries(int64(p.Deleted)))
			}
			return err
		},
	}
	durationVar(cmd.Flags(), &interval, "interval", "start a pass this often until interrupted, instead of only one")
	cmd.Flags().IntVar(&rate, "rate", sweepRate, "delete at most this many entries a second")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON")
	return cmd
}

func printSweep(p provider.SweepProgress, asJSON bool) error {
	if asJSON {
		message := ""
		if p.Err != nil {
			message = p.Err.Error()
		}
		return printJSON(struct {
			Pass    int    `json:"pass"`
			Deleted int    `json:"deleted"`
			Kept    int    `json:"kept"`
			Foreign int    `json:"foreign"`
			Error   string `json:"error,omitempty"`
		}{p.Pass, p.Deleted, p.Kept, p.Foreign, message})
	}
	if p.Err != nil {
		fmt.Fprintf(stderr, "skykv: pass %d: %v\n", p.Pass, p.Err)
	}
	_, err := fmt.Fprintf(stdout, "deleted %s; %d changed meanwhile, %d were not skykv's\n", entries(int64(p.Deleted)), p.Kept, p.Foreign)
	return err
}

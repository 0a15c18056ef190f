package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/command/internal/console"
	"github.com/skykv/skykv/kv"
)

func (c *cli) newUI() *cobra.Command {
	var (
		asJSON bool
		port   int
	)
	cmd := &cobra.Command{
		Use:   "ui [URL]",
		Short: "Show a store in a browser",
		Long: `Serve pages that show a store, only on this machine, and print their address: folders of
keys, entries with their time left, the results of doctor, and the commands that change an
entry. The pages change nothing. The address contains a secret. Ctrl-C ends the command: it
then exits with 0. With --json, print the address as JSON.`,
		Example: `  skykv ui file:app.db
  skykv ui 'dynamodb://cache?region=eu-central-1' --port 8600`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			if port < 0 || port > 65535 {
				return usagef("--port is %d; want 1 to 65535, or 0 for any", port)
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
				if err != nil {
					return err
				}
				pages := console.New(store, url, listener.Addr(), c.stores.Inspect)
				if asJSON {
					err = printJSON(struct {
						Address string `json:"address"`
					}{pages.Address()})
				} else {
					_, err = fmt.Fprintln(stdout, pages.Address())
				}
				if err != nil {
					return errors.Join(err, listener.Close())
				}
				return serve(cmd.Context(), listener, pages)
			})
		},
	}
	cmd.Flags().IntVar(&port, "port", 0, "the port; default: any free port")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the address as JSON")
	return cmd
}

// serve serves until ctx ends. If a signal ends ctx, it returns nil.
func serve(ctx context.Context, listener net.Listener, pages http.Handler) error {
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return unlessInterrupted(ctx)
}

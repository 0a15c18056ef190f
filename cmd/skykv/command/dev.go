package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/testcontainers/testcontainers-go/log"

	"github.com/skykv/skykv/conformance/emulator"
)

// devKinds are the emulators that dev can start, each with a store named devStoreName.
var devKinds = []emulator.Kind{emulator.KindDynamoDB, emulator.KindFirestore, emulator.KindAzureTables}

const devStoreName = "skykvdev"

func (c *cli) newDev() *cobra.Command {
	var (
		asJSON bool
		only   []string
		port   int
	)
	cmd := &cobra.Command{
		Use: "dev", SuggestFor: []string{"emulator", "emulators"},
		Short: "Run the services' emulators, each with a store",
		Long: `Start the emulators of DynamoDB, Firestore and Azure Tables, in Docker or as processes of
this machine, set up a store in each, print the KV_URLs, and stop them all on Ctrl-C.
Their entries are gone then.

The URLs are others each time. With --port they stay the same: DynamoDB is at that port,
Firestore at the next one, and Azure Tables at the one after it.

With --json, print one line of JSON when all are ready: the URL by kind. The environment
variable SKYKV_EMULATOR=docker or process forces one way. Ctrl-C ends the command: it
then exits with 0.`,
		Example: `  skykv dev
  skykv dev --port 8400
  skykv dev --only dynamodb
  skykv dev --only dynamodb,aztables --json | jq -r .dynamodb.url`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			kinds := make(map[emulator.Kind]bool)
			for _, kind := range devKinds {
				kinds[kind] = len(only) == 0 || slices.Contains(only, string(kind))
			}
			for _, kind := range only {
				if _, known := kinds[emulator.Kind(kind)]; !known {
					return usagef("--only is %q; want dynamodb, firestore or aztables", kind)
				}
			}
			if most := math.MaxUint16 - len(devKinds) + 1; port < 0 || port > most {
				return usagef("--port is %d; want 1 to %d, or 0 for any free ones", port, most)
			}
			log.SetDefault(silent{})
			fmt.Fprintln(stderr, "starting; this may take minutes the first time…")
			running, err := c.startDev(ctx, kinds, port)
			defer stopDev(running)
			if ctx.Err() != nil {
				return context.Cause(ctx) // rather than the error that the interruption caused
			}
			if err != nil {
				return err
			}
			if err := printDev(running, asJSON); err != nil {
				return err
			}
			fmt.Fprintln(stderr, "ready; Ctrl-C stops the emulators and deletes their entries")
			<-ctx.Done()
			fmt.Fprintln(stderr, "stopping…")
			return unlessInterrupted(ctx)
		},
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "start these only: dynamodb, firestore, aztables")
	cmd.Flags().IntVar(&port, "port", 0, "the first of three ports; any free ones unless given")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the URLs as one line of JSON")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions([]string{"dynamodb", "firestore", "aztables"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

type devStore struct {
	kind     emulator.Kind
	emulator *emulator.Emulator
	url      string
}

// startDev starts the emulators of the given kinds concurrently. The port of the emulator
// devKinds[i] is first+i. If first is 0, the emulators listen on any free ports. Even if startDev
// returns an error, it also returns the emulators that are running.
func (c *cli) startDev(ctx context.Context, kinds map[emulator.Kind]bool, first int) ([]devStore, error) {
	stores := make([]devStore, len(devKinds))
	errs := make([]error, len(devKinds))
	var starting sync.WaitGroup
	for i, kind := range devKinds {
		if !kinds[kind] {
			continue
		}
		port := 0
		if first != 0 {
			port = first + i
		}
		starting.Go(func() {
			e, err := emulator.StartAt(ctx, kind, uint16(port))
			if err != nil {
				errs[i] = err
				return
			}
			stores[i] = devStore{kind, e, e.StoreURL(devStoreName)}
			errs[i] = c.stores.Ensure(ctx, stores[i].url)
		})
	}
	starting.Wait()
	return slices.DeleteFunc(stores, func(s devStore) bool { return s.emulator == nil }), errors.Join(errs...)
}

func stopDev(running []devStore) {
	var stopping sync.WaitGroup
	for _, store := range running {
		stopping.Go(func() {
			if err := store.emulator.Stop(); err != nil {
				fmt.Fprintf(stderr, "skykv: stopping %s: %v\n", store.kind, err)
			}
		})
	}
	stopping.Wait()
}

func printDev(running []devStore, asJSON bool) error {
	if asJSON {
		type line struct {
			URL string `json:"url"`
			Way string `json:"way"`
		}
		lines := make(map[emulator.Kind]line)
		for _, store := range running {
			lines[store.kind] = line{store.url, store.emulator.Way}
		}
		return printJSON(lines)
	}
	var text strings.Builder
	for _, store := range running {
		fmt.Fprintf(&text, "export KV_URL='%s'\n", store.url)
	}
	_, err := fmt.Fprint(stdout, text.String())
	return err
}

// silent drops the output of testcontainers.
type silent struct{}

func (silent) Printf(string, ...any) {}

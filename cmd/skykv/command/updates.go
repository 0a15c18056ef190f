package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// expiryFlags are the flags that say when an entry expires.
type expiryFlags struct {
	ttl time.Duration
	at  string
}

func (e *expiryFlags) add(f *pflag.FlagSet) {
	durationVar(f, &e.ttl, "ttl", "let the entry expire after this time, such as 90s, 36h or 30d")
	f.StringVar(&e.at, "expire-at", "", "let the entry expire at this instant, such as 2027-01-31T12:00:00Z")
}

// option returns the option for the flags, or nil if none is given.
func (e *expiryFlags) option(cmd *cobra.Command) (kv.ExpiryOption, error) {
	switch {
	case cmd.Flags().Changed("ttl"):
		return kv.TTL(e.ttl), nil
	case cmd.Flags().Changed("expire-at"):
		t, err := time.Parse(time.RFC3339Nano, e.at)
		if err != nil || t.IsZero() {
			return nil, usagef("--expire-at is not an instant; want one such as 2027-01-31T12:00:00Z")
		}
		return kv.ExpiresAt(t), nil
	}
	return nil, nil
}

func (c *cli) newTouch() *cobra.Command {
	var (
		asJSON, never bool
		expiry        expiryFlags
		ifVersion     string
	)
	cmd := &cobra.Command{
		Use:   "touch [URL] KEY",
		Short: "Set the expiry of an entry",
		Long: `Set the expiry of the entry under KEY. Its value stays as it is and is not transferred.
Exits with 3 if there is no such entry, with 4 if --if-version did not hold, and with 5 if
it is unknown whether the expiry was set.`,
		Example: `  skykv touch file:app.db session:42 --ttl 30m
  skykv touch file:app.db session:42 --never

With KV_URL set:
  skykv touch --json session:42 --expire-at 2027-01-31T12:00:00Z`,
		Args: rangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, rest, err := c.splitURL(args, 1)
			if err != nil {
				return err
			}
			expires, err := expiry.option(cmd)
			switch {
			case err != nil:
				return err
			case never:
				expires = kv.ExpiresAt(time.Time{})
			case expires == nil:
				return usagef("touch needs --ttl, --expire-at or --never")
			}
			opts := []kv.TouchOption{expires}
			if cmd.Flags().Changed("if-version") {
				version, err := kv.ParseVersion(ifVersion)
				if err != nil {
					return errIfVersion
				}
				opts = append(opts, kv.IfVersion(version))
			}
			defer limitEntry(cmd)()
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				version, err := store.Touch(cmd.Context(), rest[0], opts...)
				if err != nil || !asJSON {
					return err
				}
				return printVersion(rest[0], version)
			})
		},
	}
	f := cmd.Flags()
	expiry.add(f)
	f.BoolVar(&never, "never", false, "let the entry live until it is deleted")
	f.StringVar(&ifVersion, "if-version", "", "only if the entry still has this version, as get --json printed it")
	f.BoolVar(&asJSON, "json", false, "print the key and the new version as JSON")
	cmd.MarkFlagsMutuallyExclusive("ttl", "expire-at", "never")
	return cmd
}

func (c *cli) newIncr() *cobra.Command {
	var (
		asJSON, ifNew bool
		expiry        expiryFlags
	)
	cmd := &cobra.Command{
		Use:   "incr [URL] KEY [DELTA]",
		Short: "Add to a number",
		Long: `Add DELTA, by default 1, to the number under KEY, and print the sum. An absent entry counts
as 0. Put -- before a DELTA that begins with -.

The entry keeps its expiry. --ttl or --expire-at sets a new one. With --if-new, --ttl sets
it only for a new entry, as for the window of a rate limit. Exits with 5 if it is unknown
whether DELTA was added.`,
		Example: `  skykv incr file:app.db views:home
  skykv incr file:app.db credit:42 -- -10

With KV_URL set:
  skykv incr "hits:$USER" --ttl 1m --if-new`,
		Args: rangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := len(args) // number of arguments that are not the URL
			if n == 3 || n == 2 && c.isURL(args[0]) {
				n--
			}
			url, rest, err := c.splitURL(args, n)
			if err != nil {
				return err
			}
			delta := int64(1)
			if len(rest) == 2 {
				if delta, err = strconv.ParseInt(rest[1], 10, 64); err != nil {
					return usagef("DELTA is not a whole number of 64 bits; want one such as 1 or -10")
				}
			}
			expires, err := expiry.option(cmd)
			if err != nil {
				return err
			}
			var opts []kv.IncrementOption
			switch {
			case ifNew && !cmd.Flags().Changed("ttl"):
				return usagef("--if-new needs --ttl")
			case ifNew:
				opts = append(opts, kv.TTLIfNew(expiry.ttl))
			case expires != nil:
				opts = append(opts, expires)
			}
			defer limitEntry(cmd)()
			return c.withStore(cmd.Context(), url, func(store *kv.Store) error {
				sum, err := store.Increment(cmd.Context(), rest[0], delta, opts...)
				switch {
				case err != nil:
					return err
				case asJSON:
					return printJSON(map[string]any{"key": rest[0], "sum": sum})
				}
				_, err = fmt.Fprintln(stdout, sum)
				return err
			})
		},
	}
	f := cmd.Flags()
	expiry.add(f)
	f.BoolVar(&ifNew, "if-new", false, "set the expiry of --ttl only for a new entry")
	f.BoolVar(&asJSON, "json", false, "print the key and the sum as JSON")
	cmd.MarkFlagsMutuallyExclusive("ttl", "expire-at")
	return cmd
}

// untilText returns the time from now until expires, to the millisecond. Its form is that of a
// time.Duration, even if the time is longer than 292 years, which no time.Duration can be.
func untilText(now, expires time.Time) string {
	const hour = int64(time.Hour / time.Millisecond)
	ms := expires.UnixMilli() - now.UnixMilli()
	if ms < hour {
		return (time.Duration(ms) * time.Millisecond).String()
	}
	rest := (time.Duration(ms%hour+hour) * time.Millisecond).String()
	return fmt.Sprintf("%dh%s", ms/hour, strings.TrimPrefix(rest, "1h"))
}

// notFound returns the error of the command ttl for a key without an entry.
func notFound(url, key string) error {
	return &kv.Error{Op: "ttl", Key: key, Provider: provider.Scheme(url), Kind: kv.ErrNotFound}
}

func (c *cli) newTTL() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ttl [URL] KEY",
		Short: "Print the time until an entry expires",
		Long: `Print the time until the entry under KEY expires, such as 29m59.5s, or never if it does not
expire. Exits with 3 if there is no such entry. The value is not transferred where the
service can avoid it. With --json, print the key and "expiresAt".`,
		Example: `  skykv ttl file:app.db session:42

With KV_URL set:
  skykv ttl --json session:42 | jq -r .expiresAt`,
		Args: rangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, rest, err := c.splitURL(args, 1)
			if err != nil {
				return err
			}
			key := rest[0]
			if err := kv.ValidateKey(key); err != nil {
				return err
			}
			defer limitEntry(cmd)()
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				for entry, err := range store.Scan(cmd.Context(), key, kv.Limit(1), kv.KeysOnly()) {
					switch {
					case entry.Key != "" && entry.Key != key: // there is no entry under key: the scan found a later key
						return notFound(url, key)
					case err != nil:
						return err
					}
					switch {
					case asJSON && entry.ExpiresAt.IsZero():
						return printJSON(map[string]any{"key": key})
					case asJSON:
						return printJSON(map[string]any{"key": key, "expiresAt": entry.ExpiresAt.Format(time.RFC3339Nano)})
					case entry.ExpiresAt.IsZero():
						_, err = fmt.Fprintln(stdout, "never")
					default:
						_, err = fmt.Fprintln(stdout, untilText(time.Now(), entry.ExpiresAt))
					}
					return err
				}
				return notFound(url, key)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key and the instant as JSON")
	return cmd
}

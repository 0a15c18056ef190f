package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/cmd/skykv/command/internal/entryline"
	"github.com/skykv/skykv/cmd/skykv/command/internal/transfer"
	"github.com/skykv/skykv/kv"
)

func (c *cli) newGet() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "get [URL] KEY",
		Short: "Print the value of an entry",
		Long: `Print the value under KEY, byte by byte and with nothing added. On a terminal, escape
control characters, and add a newline at the end. Exits with 3 if there is no such entry,
or if it has expired.

With --json, print one line of JSON: the key, the "value" (or "base64", if it is not
UTF-8 text), "expiresAt" if it expires, and the "version" for put and delete.`,
		Example: `  skykv get file:app.db user:42
  skykv get "$STORE" logo.png > logo.png

With KV_URL set:
  skykv get --json user:42 | jq -r .version`,
		Args: rangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, rest, err := c.splitURL(args, 1)
			if err != nil {
				return err
			}
			defer limitEntry(cmd)()
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				entry, err := store.Get(cmd.Context(), rest[0])
				if err != nil {
					return err
				}
				if asJSON {
					return entryline.NewEncoder(stdout, true).Encode(entry)
				}
				if stdout.terminal {
					entry.Value = append(entry.Value, '\n')
				}
				_, err = stdout.Write(entry.Value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the whole entry as JSON")
	return cmd
}

func (c *cli) newPut() *cobra.Command {
	var (
		asJSON, ifNotExists, keepTTL bool
		expiry                       expiryFlags
		ifVersion, input             string
	)
	cmd := &cobra.Command{
		Use:     "put [URL] KEY [VALUE]",
		Aliases: []string{"set"},
		Short:   "Store an entry",
		Long: `Store VALUE under KEY. It replaces the old entry and its expiry. Without VALUE the value
is read from standard input, or from the file of --file, byte by byte. Empty standard
input is an error, unless --file - is given. Put -- before a VALUE that begins with -:
put URL KEY -- VALUE.

With KV_URL set and two arguments, the first counts as a URL if it begins like one: for a
key that begins with file: or mem:, also give the URL.

Exits with 4 if a condition did not hold, and with 5 if it is unknown whether the entry
was written. With --json, print the key and the new version.`,
		Example: `  skykv put file:app.db user:42 Ann
  skykv put file:app.db logo.png --file logo.png

With KV_URL set:
  echo '{"n":1}' | skykv put counter
  skykv put lock:job-7 "$(hostname)" --ttl 90s --if-not-exists; [ $? = 4 ] && echo taken
  skykv put counter 2 --if-version "$(skykv get --json counter | jq -r .version)"`,
		Args: rangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := len(args) // number of arguments that are not the URL
			if n == 3 || n == 2 && (c.isURL(args[0]) || input != "") {
				n--
			}
			url, rest, err := c.splitURL(args, n)
			if err != nil {
				return err
			}
			if len(rest) == 2 && input != "" {
				return usagef("give the value as an argument or by --file, not both")
			}
			var opts []kv.PutOption
			if expires, err := expiry.option(cmd); err != nil {
				return err
			} else if expires != nil {
				opts = append(opts, expires)
			}
			if ifNotExists {
				opts = append(opts, kv.IfNotExists())
			}
			if cmd.Flags().Changed("if-version") {
				version, err := kv.ParseVersion(ifVersion)
				if err != nil {
					return errIfVersion
				}
				opts = append(opts, kv.IfVersion(version))
			}
			if err := kv.ValidateKey(rest[0]); err != nil {
				return err // before put reads the value
			}
			var value []byte
			if len(rest) == 2 {
				value = []byte(rest[1])
			} else if value, err = readValue(cmd.Context(), input); err != nil {
				return err
			}
			defer limitEntry(cmd)()
			return c.withStore(cmd.Context(), url, func(store *kv.Store) error {
				if most := store.Info().MaxValueLen; len(value) > most && most < kv.MaxLargeValueLen {
					return usagef("value too large: it has %d bytes; want at most %d%s", len(value), most, transfer.OrMore(store))
				}
				var version kv.Version
				var err error
				if keepTTL {
					var entry kv.Entry
					entry, err = store.Update(cmd.Context(), rest[0], func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: value}, nil })
					version = entry.Version
				} else {
					version, err = store.Put(cmd.Context(), rest[0], value, opts...)
				}
				if err != nil || !asJSON {
					return err
				}
				return printVersion(rest[0], version)
			})
		},
	}
	f := cmd.Flags()
	expiry.add(f)
	f.BoolVar(&keepTTL, "keep-ttl", false, "keep the entry's expiry")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "only if there is no such entry")
	f.StringVar(&ifVersion, "if-version", "", "only if the entry still has this version, as get --json printed it")
	f.StringVarP(&input, "file", "f", "", "read the value from this file, - for standard input")
	f.BoolVar(&asJSON, "json", false, "print the key and the new version as JSON")
	cmd.MarkFlagsMutuallyExclusive("ttl", "expire-at", "keep-ttl")
	cmd.MarkFlagsMutuallyExclusive("if-not-exists", "if-version", "keep-ttl")
	_ = cmd.MarkFlagFilename("file")
	return cmd
}

// printVersion prints the version that a write of one entry returned.
func printVersion(key string, version kv.Version) error {
	return printJSON(struct {
		Key     string     `json:"key"`
		Version kv.Version `json:"version"`
	}{key, version})
}

// standard means standard input or output when it is given as the name of a file.
const standard = "-"

// errIfVersion replaces the error of kv.ParseVersion, which knows nothing of flags.
var errIfVersion = usagef("invalid version: --if-version takes the version that get --json or put --json printed")

// readValue reads a value from a file, or from standard input if path is empty or "-".
// A value of more bytes than any store can hold is an error. If path is empty, an empty value is
// an error too.
func readValue(ctx context.Context, path string) ([]byte, error) {
	what, r := "the value on standard input", io.Reader(os.Stdin)
	if path != "" && path != standard {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		what, r = path, f
	} else if isTerminal(os.Stdin) {
		fmt.Fprintln(stderr, "skykv: type the value, then Ctrl-D")
	}
	value, err := io.ReadAll(io.LimitReader(interruptible(ctx, r), kv.MaxLargeValueLen+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", what, err)
	case len(value) > kv.MaxLargeValueLen:
		return nil, usagef("%s has more than %d bytes, the most that a value can have", what, kv.MaxLargeValueLen)
	case len(value) == 0 && path == "": // the user forgot VALUE, or the program that should write it failed
		return nil, usagef(`standard input is empty; to store an empty value, give "" as the VALUE, or --file -`)
	}
	return value, nil
}

func (c *cli) newDelete() *cobra.Command {
	var (
		asJSON, dryRun, yes bool
		ifVersion, prefix   string
	)
	cmd := &cobra.Command{
		Use:     "delete [URL] KEY | --prefix PREFIX",
		Aliases: []string{"rm"},
		Short:   "Remove an entry, or all entries with a prefix",
		Long: `Remove the entry under KEY. An absent entry is not an error. With --prefix, remove every
entry whose key begins with PREFIX, and print how many there were. At a terminal it asks
first, unless --yes is given. With --dry-run, only count them.

Exits with 4 if --if-version did not hold, and with 5 if it is unknown whether the entry
was removed.`,
		Example: `  skykv delete file:app.db user:42
  skykv delete file:app.db --prefix session:

With KV_URL set:
  skykv delete user:42 --if-version "$VERSION"`,
		Args: rangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			many := cmd.Flags().Changed("prefix")
			n := 1
			if many {
				n = 0
			}
			if len(args) < n || len(args) > n+1 {
				return usagef("wrong number of arguments; want %s; see: %s --help", cmd.UseLine(), cmd.CommandPath())
			}
			url, rest, err := c.splitURL(args, n)
			if err != nil {
				return err
			}
			var opts []kv.DeleteOption
			if cmd.Flags().Changed("if-version") {
				version, err := kv.ParseVersion(ifVersion)
				if err != nil {
					return errIfVersion
				}
				opts = append(opts, kv.IfVersion(version))
			}
			if !many {
				if dryRun || yes {
					return usagef("--dry-run and --yes need --prefix")
				}
				defer limitEntry(cmd)()
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				if many && dryRun {
					n, err := countEntries(cmd.Context(), store, prefix)
					switch {
					case err != nil:
						return err
					case asJSON:
						return printJSON(map[string]any{"prefix": prefix, "wouldDelete": n})
					}
					_, err = fmt.Fprintln(stdout, n)
					return err
				}
				if many {
					if !yes && isTerminal(os.Stdin) && stderr.terminal {
						if err := confirm(cmd.Context(), fmt.Sprintf("Remove every entry whose key begins with %q?", prefix)); err != nil {
							return err
						}
					}
					n, err := store.DeletePrefix(cmd.Context(), prefix)
					if err != nil && n > 0 {
						err = fmt.Errorf("%w\n%s were removed", err, entries(int64(n)))
					}
					if err != nil {
						return err
					}
					if asJSON {
						return printJSON(map[string]any{"prefix": prefix, "deleted": n})
					}
					_, err = fmt.Fprintln(stdout, n)
					return err
				}
				if err := store.Delete(cmd.Context(), rest[0], opts...); err != nil || !asJSON {
					return err
				}
				return printJSON(map[string]any{"key": rest[0]})
			})
		},
	}
	cmd.Flags().StringVar(&ifVersion, "if-version", "", "only if the entry still has this version, as get --json printed it")
	cmd.Flags().StringVar(&prefix, "prefix", "", "remove all entries whose keys begin with this")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count the entries that --prefix would remove")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before --prefix removes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.MarkFlagsMutuallyExclusive("prefix", "if-version")
	return cmd
}

func (c *cli) newExists() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "exists [URL] KEY",
		Short: "Say whether there is an entry",
		Long: `Print true and exit with 0 if there is an entry under KEY. Otherwise print
false and exit with 3.`,
		Example: `  if skykv exists file:app.db user:42 > /dev/null; then echo known; fi

With KV_URL set:
  skykv exists --json user:42`,
		Args: rangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, rest, err := c.splitURL(args, 1)
			if err != nil {
				return err
			}
			defer limitEntry(cmd)()
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				exists, err := store.Exists(cmd.Context(), rest[0])
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(struct {
						Key    string `json:"key"`
						Exists bool   `json:"exists"`
					}{rest[0], exists})
				} else {
					_, err = fmt.Fprintln(stdout, exists)
				}
				if err == nil && !exists {
					err = quiet(exitNotFound)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (c *cli) newScan() *cobra.Command {
	var (
		asJSON, keysOnly bool
		limit            int

		prefix, from, after, before string
	)
	cmd := &cobra.Command{
		Use:     "scan [URL]",
		Aliases: []string{"keys"},
		Short:   "Print entries in order of their keys",
		Long: `Print the entries in ascending byte order of their keys as lines of JSON: the key, the
"value" (or "base64", if it is not UTF-8 text), "expiresAt" if it expires, and the
"version" for put and delete. import reads these lines as well. A terminal is shown a
table with shortened values, unless --json is given.

With --keys-only, or called as keys, print only the keys, one a line. With --json too, print
lines of JSON without values.`,
		Example: `  skykv scan file:app.db --prefix user: --limit 10
  skykv scan file:app.db | jq -r 'select(.expiresAt) | .key'

With KV_URL set:
  skykv scan --keys-only | wc -l`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			opts := []kv.ScanOption{kv.From(from), kv.After(after), kv.Before(before)}
			if cmd.Flags().Changed("limit") {
				opts = append(opts, kv.Limit(limit))
			}
			if keysOnly = keysOnly || cmd.CalledAs() == "keys"; keysOnly {
				opts = append(opts, kv.KeysOnly())
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) (err error) {
				out := newOutput()
				defer func() {
					if flushErr := out.Flush(); err == nil { // if err is set, flushErr is probably the same error
						err = flushErr
					}
				}()
				print := out.json
				switch {
				case asJSON:
				case keysOnly:
					print = func(entry kv.Entry) error {
						if _, err := out.WriteString(entry.Key + "\n"); err != nil {
							return err
						}
						return out.line()
					}
				case stdout.terminal:
					table := newTable(out, stdout.file)
					defer func() { err = cmp.Or(err, table.flush()) }()
					print = table.entry
				}
				return eachEntry(store.Scan(cmd.Context(), prefix, opts...), print)
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin with this")
	cmd.Flags().StringVar(&from, "from", "", "only this key and those after it")
	cmd.Flags().StringVar(&after, "after", "", "only keys after this one")
	cmd.Flags().StringVar(&before, "before", "", "only keys before this one")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this many entries")
	cmd.Flags().BoolVar(&keysOnly, "keys-only", false, "keys without values")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON, also with --keys-only")
	return cmd
}

// eachEntry calls f for the entries of a scan, until f returns an error. For an entry that
// cannot be read, eachEntry prints a warning with the key, continues with the next entry, and
// returns an error at the end.
func eachEntry(entries func(func(kv.Entry, error) bool), f func(kv.Entry) error) error {
	damaged := 0
	for entry, err := range entries {
		if err != nil && entry.Key != "" {
			damaged++
			warnEntry(entry.Key, err)
			continue
		}
		if err == nil {
			err = f(entry)
		}
		if err != nil {
			return err
		}
	}
	if damaged > 0 {
		return errUnreadable(damaged)
	}
	return nil
}

func countEntries(ctx context.Context, store *kv.Store, prefix string) (n int, err error) {
	n, err = store.Count(ctx, prefix)
	if batch, ok := err.(*kv.BatchError); ok {
		for _, key := range slices.Sorted(maps.Keys(batch.Failed)) {
			warnEntry(key, batch.Failed[key])
		}
		err = errUnreadable(len(batch.Failed))
	}
	return n, err
}

func errUnreadable(entries int) error { return fmt.Errorf("%d entries could not be read", entries) }

func warnEntry(key string, err error) {
	fmt.Fprintf(stderr, "skykv: entry %s: %v\n", strconv.Quote(key), err)
}

func (c *cli) newCount() *cobra.Command {
	var (
		asJSON bool
		prefix string
	)
	cmd := &cobra.Command{
		Use:   "count [URL]",
		Short: "Count entries",
		Long: `Count the entries that have not expired. It costs as much as scan --keys-only: every
service reads what it counts. DynamoDB counts in the service and transfers nothing. A local
file is counted in its indexes, in a fraction of the time. That may include damaged records
and records of other programs; doctor finds those.`,
		Example: `  skykv count file:app.db

With KV_URL set:
  skykv count --prefix session: --json`,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, _, err := c.splitURL(args, 0)
			if err != nil {
				return err
			}
			return c.withExisting(cmd.Context(), url, func(store *kv.Store) error {
				n, err := countEntries(cmd.Context(), store, prefix)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(struct {
						Prefix string `json:"prefix"`
						Count  int    `json:"count"`
					}{prefix, n})
				}
				_, err = fmt.Fprintln(stdout, n)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin with this")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the number as JSON")
	return cmd
}

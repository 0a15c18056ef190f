// Package command implements the skykv command for any set of providers. The program in
// cmd/skykv uses the providers of this module. A program with more providers takes ten lines:
//
//	func main() {
//		os.Exit(command.Run(append(providers.All(), mykv.Provider()), os.Args[1:]))
//	}
package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
)

const rootHelp = `Skykv shows key-value stores on DynamoDB, Firestore, Azure Tables and SQLite, moves entries
between them, sets them up and checks them.

A URL names a store, as the first argument or in the environment variable KV_URL:

%s
Quote a URL that has parameters: 'dynamodb://cache?region=eu-central-1'. Credentials must not
be in the URL: they come from the sources of the service's own tools.

Exit codes:

  0    it worked
  1    it failed: the service, the network, a file or a line in it, or it took too long
  2    wrong use: invalid flags, arguments, keys, values or options
  3    get, exists, ttl, touch: there is no such entry
  4    put, touch, delete: the condition did not hold, nothing was written
  5    it is unknown whether the write was applied
  6    the store does not exist, is not skykv's, or the credentials do not permit it
  7    a check found something: copy --verify, doctor, conformance
  130  interrupted by Ctrl-C (143: by SIGTERM); dev, ui and watch, which it ends: 0
  141  the program that reads the output has ended, as head does; no message

After the first Ctrl-C or SIGTERM a command ends in order, once its present output is
written; the second one ends it at once.`

// The exit codes that rootHelp lists.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitCondition   = 4
	exitUnknown     = 5
	exitUnusable    = 6
	exitFindings    = 7
	exitSignal      = 128 // plus the signal's number
	exitOutputEnded = exitSignal + int(syscall.SIGPIPE)
)

// cli is the command with its set of providers.
type cli struct{ stores provider.Set }

func (c *cli) newRoot() *cobra.Command {
	var timeout time.Duration
	root := &cobra.Command{
		Use:                        "skykv",
		SuggestionsMinimumDistance: 2,
		Version:                    version(),
		Short:                      "Show, move, set up and check key-value stores",
		Long:                       fmt.Sprintf(rootHelp, c.forms()),
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args:                       noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 {
				return usagef("--timeout is %s; want a time such as 90s, or 0 for no limit", timeout)
			}
			if timeout > 0 {
				_ = limit(cmd, timeout) // not cancelled: the limit holds until the process ends
			}
			return checkEmpty(cmd.Flags())
		},
	}
	durationVar(root.PersistentFlags(), &timeout, "timeout", fmt.Sprintf("end after this time, or 0 for no limit (default: %s for one entry, otherwise no limit)", entryTimeout))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; %s", flagError(err), didYouMean(similarFlags(cmd, err), cmd.CommandPath()+" --help"))
	})
	root.AddGroup(
		&cobra.Group{ID: "entries", Title: "Read and write a store:"},
		&cobra.Group{ID: "move", Title: "Move entries:"},
		&cobra.Group{ID: "stores", Title: "Set up and check stores:"},
	)
	for group, cmds := range map[string][]*cobra.Command{
		"entries": {c.newGet(), c.newPut(), c.newDelete(), c.newTouch(), c.newTTL(), c.newIncr(), c.newExists(), c.newScan(), c.newList(), c.newCount(), c.newWatch()},
		"move":    {c.newCopy(), c.newExport(), c.newImport(), c.newBackup()},
		"stores":  {c.newProvision(), c.newDoctor(), c.newSweep(), c.newConformance(), c.newUI(), c.newDev(), c.newVersion()},
	} {
		for _, cmd := range cmds {
			cmd.GroupID = group
			cmd.DisableFlagsInUseLine = true
			c.completeWith(cmd)
			root.AddCommand(cmd)
		}
	}
	strictDefaults(root)
	return root
}

// strictDefaults makes cobra's own commands refuse unknown arguments.
func strictDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return usagef("unknown command %q; see: skykv help", strings.Join(args, " "))
				}
				return nil
			}
		case "completion":
			cmd.Args = noArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
}

// forms lists the URLs of all providers, for the help.
func (c *cli) forms() string {
	var text strings.Builder
	for _, p := range c.stores {
		fmt.Fprintf(&text, "  %s\n      %s\n", p.Form, p.Summary)
	}
	return text.String()
}

// Run runs the command for a set of providers with the arguments args, and returns one of
// the exit codes that the command's help lists. It uses the process's standard streams, and
// handles its signals.
func Run(stores provider.Set, args []string) int {
	c := &cli{stores}
	ctx, stop := withSignals(context.Background())
	defer stop()
	root := c.newRoot()
	root.SetArgs(args)
	out := &checkedWriter{w: stdout}
	root.SetOut(out)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.err
	}
	if err == nil {
		return 0
	}
	code, message := explain(cmd.Context(), err)
	if message != "" {
		fmt.Fprintln(stderr, "skykv: "+message)
	}
	return code
}

// checkedWriter keeps the first error of w, because cobra ignores errors when it prints the
// help.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.err = cmp.Or(c.err, err)
	return n, err
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string {
	if i.signal == syscall.SIGINT {
		return "interrupted"
	}
	return "terminated"
}

// unlessInterrupted returns why ctx ended, or nil if a signal ended it. It is for commands that run
// until Ctrl-C.
func unlessInterrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if _, ok := errors.AsType[interrupted](cause); ok {
		return nil
	}
	return cause
}

// withSignals returns a context that ends with the first SIGINT or SIGTERM. The second signal
// ends the process, because signal.Stop has removed the handler.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			signal.Stop(signals)
			cancel(interrupted{s})
		}
	}()
	// Because SIGPIPE is handled, a write to a closed pipe returns an error instead of
	// ending the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx, func() { cancel(nil) }
}

// usageError is a mistake in the arguments of the command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// quiet is an error that ends the command with this exit code and without a message.
type quiet int

func (quiet) Error() string { return "a check found something" }

// explain returns the exit code of an error, and the message to print.
func explain(ctx context.Context, err error) (code int, message string) {
	message = strings.TrimPrefix(strings.TrimPrefix(err.Error(), "kv: "), "conformance: ")
	if code, ok := err.(quiet); ok { // not errors.As: if an error of Close is joined with it, that error must be printed
		return int(code), ""
	}
	if is(err, errReaderGone) {
		return exitOutputEnded, ""
	}
	if after, ok := errors.AsType[timedOut](context.Cause(ctx)); ok && is(err, context.DeadlineExceeded) && !is(err, kv.ErrIndeterminate) {
		return exitFailure, after.Error()
	}
	if by, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
		if is(err, context.Canceled) && !is(err, kv.ErrIndeterminate) {
			message = by.Error()
		}
		return exitSignal + int(by.signal), message
	}
	_, again := errors.AsType[transferError](err) // if again is true, a wrong key or value is in the transferred entries, not in the arguments
	if _, ok := errors.AsType[usageError](err); ok || !again && is(err, kv.ErrInvalidKey, kv.ErrInvalidOption, kv.ErrInvalidVersion, kv.ErrValueTooLarge, kv.ErrInvalidCursor) {
		return exitUsage, message
	}
	if group, ok := strings.CutPrefix(message, "if any flags in the group ["); ok { // cobra has no type for this error
		group, _, _ = strings.Cut(group, "]")
		return exitUsage, "--" + strings.ReplaceAll(group, " ", " and --") + " cannot be used together"
	}
	advise := func(advice string) string { return message + "\n" + advice }
	switch {
	case is(err, kv.ErrIndeterminate) && !again:
		return exitUnknown, advise("Read the key to find out; if the write has no condition and may be repeated, run the command again.")
	case is(err, kv.ErrNotFound):
		return exitNotFound, message
	case is(err, kv.ErrConditionFailed):
		return exitCondition, message
	case is(err, kv.ErrNotProvisioned):
		return exitUnusable, advise("To see what is missing: skykv doctor URL; to create it: skykv provision URL")
	case is(err, kv.ErrPermission):
		return exitUnusable, advise("To see what the credentials permit: skykv doctor URL")
	case is(err, kv.ErrIncompatible):
		return exitUnusable, advise("To see what is stored there: skykv doctor URL")
	case is(err, kv.ErrThrottled):
		return exitFailure, advise("The service limits the rate: try again later, or with a smaller --parallel.")
	case is(err, kv.ErrUnavailable):
		return exitFailure, advise("To see what is wrong: skykv doctor URL")
	}
	return exitFailure, message
}

func is(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// isURL reports whether text begins like the URL of a store.
func (c *cli) isURL(text string) bool {
	scheme := provider.Scheme(text)
	return slices.ContainsFunc(c.stores, func(p provider.Provider) bool { return p.Scheme == scheme })
}

// splitURL separates the store's URL from the n arguments after it. If there are only n
// arguments, the URL is the value of KV_URL.
func (c *cli) splitURL(args []string, n int) (url string, rest []string, err error) {
	if len(args) == n+1 {
		return args[0], args[1:], nil
	}
	url = os.Getenv(providers.EnvURL)
	if url == "" && len(args) > 0 && c.isURL(args[0]) {
		return "", nil, usagef("there is no key after the store's URL")
	}
	if url == "" && len(args) > 0 && strings.Contains(args[0], "://") {
		_, err := c.stores.Find(args[0]) // an error, because isURL does not know the scheme
		return "", nil, err
	}
	if url == "" {
		return "", nil, usagef("no store: give its URL, such as file:app.db, as the first argument, or set %s", providers.EnvURL)
	}
	return url, args, nil
}

// splitPrefix separates the store's URL from the prefix after it. Both may be missing.
func (c *cli) splitPrefix(args []string) (url, prefix string, err error) {
	n := len(args) // number of arguments that are not the URL
	if n == 2 || n == 1 && c.isURL(args[0]) {
		n--
	}
	url, rest, err := c.splitURL(args, n)
	if err != nil {
		return "", "", err
	}
	prefix = strings.Join(rest, "")
	return url, prefix, kv.ValidatePrefix(prefix)
}

// withStore opens the store at url, calls f, and closes it.
func (c *cli) withStore(ctx context.Context, url string, f func(*kv.Store) error) error {
	return withOpened(ctx, func(ctx context.Context) (*kv.Store, error) { return c.stores.Open(ctx, url) }, f)
}

// withOpened opens a store, calls f, and closes it.
func withOpened(ctx context.Context, open func(context.Context) (*kv.Store, error), f func(*kv.Store) error) (err error) {
	store, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := store.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
	}()
	return f(store)
}

// withExisting is withStore for commands that only read, change or remove entries. If the
// URL names a file that is absent or empty, it returns an error instead of creating a store.
func (c *cli) withExisting(ctx context.Context, url string, f func(*kv.Store) error) error {
	if err := c.mustExist(url); err != nil {
		return err
	}
	return c.withStore(ctx, url, f)
}

// mustExist returns an error if url names a file that is absent or empty. Like noStore, it makes an
// exception for an absent folder.
func (c *cli) mustExist(url string) error {
	if why := noStore(c.stores.Files(url)); why != "" {
		return &kv.Error{Op: "open", Provider: provider.Scheme(url), Kind: kv.ErrNotProvisioned, Err: errors.New(why + "; put, incr and import create the store")}
	}
	return nil
}

// noStore says why files hold no store, or returns "" if they may hold one. It also returns ""
// if the folder of the file is absent, because opening the store then fails with that reason.
// An empty file holds no store: opening it would create one.
func noStore(files []string) string {
	if len(files) == 0 {
		return ""
	}
	path := files[0]
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return ""
		}
		return "there is no file " + path
	case err == nil && info.Mode().IsRegular() && info.Size() == 0:
		return "the file " + path + " is empty"
	}
	return ""
}

func noArgs(cmd *cobra.Command, args []string) error { return rangeArgs(0, 0)(cmd, args) }

// didYouMean asks whether one of the suggestions was meant. Without suggestions, it points
// to the help.
func didYouMean(suggestions []string, help string) string {
	if len(suggestions) == 0 {
		return "see: " + help
	}
	return "did you mean " + strings.Join(suggestions, " or ") + "?"
}

// rangeArgs is like cobra.RangeArgs, but its errors make the command exit with exitUsage.
func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if !cmd.HasParent() && len(args) > 0 {
			return usagef("unknown command %q; %s", args[0], didYouMean(cmd.SuggestionsFor(args[0]), "skykv help"))
		}
		if len(args) < least || len(args) > most {
			want := cmd.UseLine()
			if cmd.Flags().Lookup("prefix") != nil {
				want += ", and a prefix after --prefix"
			}
			return usagef("wrong number of arguments; want %s; see: %s --help", want, cmd.CommandPath())
		}
		return nil
	}
}

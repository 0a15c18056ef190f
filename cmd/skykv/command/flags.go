package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag. It repeats the name of an unknown flag only if the
// name is one letter, or lowercase letters and hyphens. Other text may be a value: private keys
// begin with - too.
func flagError(err error) string {
	const dashes = " (write -- before a key or value that begins with -)"
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		switch {
		case unknown.GetSpecifiedShortnames() != "":
			return "unknown flag -" + name + dashes
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == "":
			return "unknown flag --" + name
		}
		return "unknown flag" + dashes
	}
	if _, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return "unknown flag" + dashes
	}
	if none, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Sprintf("--%s has no value; want %s", none.GetFlag().Name, wanted(none.GetFlag()))
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("--%s is %.40q; want %s", invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid.GetFlag()))
	}
	return err.Error()
}

// similarFlags returns the flags of a command that are similar to an unknown one.
func similarFlags(cmd *cobra.Command, err error) []string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return nil
	}
	// cobra can suggest only names of commands, so each flag becomes a command here.
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: "--" + f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return names.SuggestionsFor("--" + unknown.GetSpecifiedName())
}

// wanted says what value a flag takes.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int":
		return "a whole number, such as 10"
	case "bool":
		return "no value, or =true or =false"
	case "stringSlice":
		return "names separated by commas"
	case durationType:
		return "a time such as 90s, 36h or 30d"
	}
	return "a text"
}

// checkEmpty refuses empty values, because they usually come from unset variables of the
// shell. Only --prefix and --after may be empty: an empty prefix or key excludes no key.
func checkEmpty(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		empty := f.Value.String() == "" || isList && len(list.GetSlice()) == 0
		if empty && f.Name != "prefix" && f.Name != "after" {
			err = usagef("--%s is empty", f.Name)
		}
	})
	return err
}

// duration is the value of a flag that takes a duration.
type duration time.Duration

const durationType = "duration"

// durationVar defines a flag that takes a duration. The default is the present value of *d.
func durationVar(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*duration)(d), name, usage)
}

func (d *duration) Type() string { return durationType }

func (d *duration) String() string {
	if *d == 0 {
		return "0" // pflag leaves this default out of the help
	}
	return time.Duration(*d).String()
}

func (d *duration) Set(text string) error {
	parsed, err := parseDuration(text)
	*d = duration(parsed)
	return err
}

// parseDuration is like [time.ParseDuration], but also takes days of 24 hours, which come
// before the other units: 1d12h.
func parseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	number := strings.TrimLeft(days, "+-")
	if number == "" || strings.Trim(number, "0123456789.") != "" || strings.ContainsAny(rest, "+-") {
		return 0, errors.New("not a number of days")
	}
	whole, err := time.ParseDuration(days + "h")
	if err != nil || whole.Abs() > math.MaxInt64/24 {
		return 0, errors.New("the number of days is too large")
	}
	whole *= 24
	if rest == "" {
		return whole, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part > math.MaxInt64-whole.Abs() {
		return 0, errors.New("the time is too large")
	}
	if strings.HasPrefix(days, "-") {
		part = -part
	}
	return whole + part, nil
}

// entryTimeout is the default time limit of a command for one entry. A working service needs
// far less time.
const entryTimeout = 30 * time.Second

// timedOut is the cause of a context that ended because of --timeout or its default.
type timedOut struct{ after time.Duration }

func (t timedOut) Error() string {
	return fmt.Sprintf("it took longer than %s and was stopped; --timeout sets the limit", t.after)
}

// limit sets a time limit for cmd: it replaces the command's context by one with that deadline.
func limit(cmd *cobra.Command, after time.Duration) context.CancelFunc {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), after, timedOut{after})
	cmd.SetContext(ctx)
	return cancel
}

// limitEntry sets the default time limit of a command that reads or writes one entry,
// unless --timeout was given.
func limitEntry(cmd *cobra.Command) context.CancelFunc {
	if cmd.Flags().Changed("timeout") {
		return func() {}
	}
	return limit(cmd, entryTimeout)
}

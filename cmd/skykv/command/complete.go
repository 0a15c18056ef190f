package command

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

const (
	completeWithin = 3 * time.Second // short, because a person waits at the shell
	completeKeys   = 100
)

type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completeWith makes shells complete URLs and keys in the arguments and --prefix of a command.
func (c *cli) completeWith(cmd *cobra.Command) {
	if _, takes, _ := strings.Cut(cmd.Use, " "); cmd.ValidArgsFunction == nil && takes != "" {
		cmd.ValidArgsFunction = c.completeArgs(strings.Fields(takes))
	}
	if cmd.Flags().Lookup("prefix") != nil {
		_ = cmd.RegisterFlagCompletionFunc("prefix", func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return c.completeKeys(cmd.Context(), args[0], typed)
			}
			return c.completeKeys(cmd.Context(), os.Getenv(providers.EnvURL), typed)
		})
	}
}

// completeArgs returns a function that completes a command's arguments. names are the names
// of the arguments in the help, such as "[URL]" and "KEY".
func (c *cli) completeArgs(names []string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		url, at := os.Getenv(providers.EnvURL), len(args)
		switch {
		case names[0] != "[URL]" || len(args) > 0 && c.isURL(args[0]):
			url = strings.Join(args[:min(at, 1)], "")
		case url != "" && !c.isURL(typed): // KV_URL is set and the user probably left out the URL, so the arguments begin with names[1]
			at++
		}
		if at >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		switch names[at] {
		case "[URL]", "FROM", "TO", "SRC":
			return c.completeURL(typed)
		case "KEY", "[PREFIX]":
			return c.completeKeys(cmd.Context(), url, typed)
		case "DEST":
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeURL completes the scheme of a URL. If the URL names a file, it also completes
// the path. It escapes special characters of names, because the result is a part of a URL, and
// because a shell may evaluate what it has completed.
func (c *cli) completeURL(typed string) (found []string, _ cobra.ShellCompDirective) {
	for _, p := range c.stores {
		start := p.Scheme + ":"
		if strings.HasPrefix(p.Form, start+"//") {
			start += "//"
		}
		if strings.HasPrefix(start, typed) && start != typed {
			found = append(found, start+"\t"+p.Summary)
		}
	}
	scheme, path, ok := strings.Cut(typed, ":")
	path, err := url.PathUnescape(path)
	if ok && err == nil && len(c.stores.Files(scheme+":x")) > 0 {
		folder, name := filepath.Split(path)
		special := regexp.MustCompile(`[^\pL\pM\pN._~-]`) // characters with a meaning in URLs or in shells
		files, _ := os.ReadDir(filepath.Clean(folder))
		for _, f := range files {
			end := ""
			if f.IsDir() {
				end = string(filepath.Separator)
			}
			if rest, begins := strings.CutPrefix(f.Name(), name); begins {
				found = append(found, typed+special.ReplaceAllStringFunc(rest, escape)+end)
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// escape escapes all bytes of a text, as in a URL.
func escape(text string) string {
	return strings.ReplaceAll(fmt.Sprintf(" % X", text), " ", "%")
}

// completeKeys completes a key of a store. It returns the first keys that begin with typed and
// that the store returns within completeWithin.
func (c *cli) completeKeys(ctx context.Context, url, typed string) (found []string, _ cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	_ = c.withExisting(ctx, url, func(store *kv.Store) error {
		for entry, err := range store.Scan(ctx, typed, kv.Limit(completeKeys), kv.KeysOnly()) {
			if err == nil {
				found = append(found, entry.Key)
			}
		}
		return nil
	})
	return found, cobra.ShellCompDirectiveNoFileComp
}

// Package shell quotes texts for commands that somebody copies into a shell.
package shell

import "strings"

// Quote returns a text as one argument for the common shells.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

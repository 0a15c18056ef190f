package report

import (
	"fmt"
	"strings"

	"github.com/skykv/skykv/conformance"
)

// Rules returns the rules of cases as Markdown: a heading for each group, and each rule
// once, with the names of the cases that check it.
func Rules(cases []conformance.Case) string {
	var b strings.Builder
	group := ""
	for i := 0; i < len(cases); {
		name, _, _ := strings.Cut(cases[i].Name, "/")
		if name != group {
			group = name
			fmt.Fprintf(&b, "\n### %s\n\n", group)
		}
		rule, n := general(cases[i].Rule), i+1
		for n < len(cases) && general(cases[n].Rule) == rule && strings.HasPrefix(cases[n].Name, name+"/") {
			n++
		}
		names := "`" + cases[i].Name + "`"
		if n > i+1 {
			names = fmt.Sprintf("%d cases, `%s` to `%s`", n-i, cases[i].Name, cases[n-1].Name)
		}
		fmt.Fprintf(&b, "- %s (%s)\n", rule, names)
		i = n
	}
	return b.String()
}

// general returns a rule without the situation of its case.
func general(rule string) string {
	rule, _, _ = strings.Cut(rule, " Here the ")
	rule, _, _ = strings.Cut(rule, " Here ")
	return rule
}

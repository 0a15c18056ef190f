package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skykv/skykv/conformance"
)

// Rules returns the rules of cases as Markdown: a heading for each group, and each rule of the
// group once. After a rule comes the name of the case that checks it. If several cases check the
// rule, their number and the name of the first one come after it.
func Rules(cases []conformance.Case) string {
	var groups, rules []string // in the order of the cases
	checks := make(map[string][]string)
	for _, c := range cases {
		group, _, _ := strings.Cut(c.Name, "/")
		rule := group + "\n" + general(c.Rule)
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		if checks[rule] == nil {
			rules = append(rules, rule)
		}
		checks[rule] = append(checks[rule], c.Name)
	}
	var b strings.Builder
	for _, group := range groups {
		fmt.Fprintf(&b, "\n### %s\n\n", group)
		for _, rule := range rules {
			text, of := strings.CutPrefix(rule, group+"\n")
			if !of {
				continue
			}
			first := "`" + checks[rule][0] + "`"
			if n := len(checks[rule]); n > 1 {
				first = fmt.Sprintf("%d cases, such as %s", n, first)
			}
			fmt.Fprintf(&b, "- %s (%s)\n", text, first)
		}
	}
	return b.String()
}

// general returns a rule without the sentence about its case, which begins with "Here".
func general(rule string) string {
	rule, _, _ = strings.Cut(rule, " Here ")
	return rule
}

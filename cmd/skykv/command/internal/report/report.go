// Package report formats the results of a run of the conformance suite: as JSON, as a page
// of HTML, and as Markdown.
package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/shell"
)

// Run is one run of the suite. skykv conformance --json prints it as JSON.
type Run struct {
	Suite    string    `json:"suite"` // skykv's version
	Go       string    `json:"go"`    // Go's version and the platform
	URL      string    `json:"url"`
	Provider string    `json:"provider"`
	Shards   int       `json:"shards"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	LeftOut  int       `json:"left_out,omitempty"` // cases for features that the store, by its Info, does not have
	Cases    []Case    `json:"cases"`
}

// Case is the result of one case.
type Case struct {
	Name     string   `json:"name"`
	Rule     string   `json:"rule"`
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
	Lacks    string   `json:"lacks,omitempty"` // the missing feature, if the case is left out; Passed then says that the store refuses the feature as documented
	Seconds  float64  `json:"seconds"`
}

// Add adds the result of one case. If the case is left out, lacks names the missing feature.
// Otherwise it is empty.
func (r *Run) Add(name, rule string, failures []string, lacks string, took time.Duration) {
	c := Case{Name: name, Rule: rule, Passed: len(failures) == 0, Failures: failures, Lacks: lacks, Seconds: took.Seconds()}
	switch {
	case !c.Passed:
		r.Failed++
	case lacks != "":
		r.LeftOut++
	default:
		r.Passed++
	}
	r.Cases = append(r.Cases, c)
}

// Asked is the number of cases that passed or failed, without those in LeftOut.
func (r *Run) Asked() int { return len(r.Cases) - r.LeftOut }

// Duration is the time that the run took.
func (r *Run) Duration() time.Duration { return time.Duration(r.Seconds * float64(time.Second)) }

// Group holds the cases whose names have the same first part.
type Group struct {
	Name    string
	Passed  int
	LeftOut int
	Cases   []Case
}

// Failed reports whether a case of the group failed.
func (g *Group) Failed() bool { return g.Passed+g.LeftOut < len(g.Cases) }

// Count says how many of the cases passed, for example "5 of 5, 1 left out".
func (g *Group) Count() string { return count(g.Passed, len(g.Cases)-g.LeftOut, g.LeftOut) }

func count(passed, asked, leftOut int) string {
	text := fmt.Sprintf("%d of %d", passed, asked)
	if leftOut > 0 {
		text += fmt.Sprintf(", %d left out", leftOut)
	}
	return text
}

// Groups returns the groups in the order of the cases.
func (r *Run) Groups() []*Group {
	var groups []*Group
	index := make(map[string]*Group)
	for _, c := range r.Cases {
		name, _, _ := strings.Cut(c.Name, "/")
		g := index[name]
		if g == nil {
			g = &Group{Name: name}
			index[name] = g
			groups = append(groups, g)
		}
		switch {
		case !c.Passed:
		case c.Lacks != "":
			g.LeftOut++
		default:
			g.Passed++
		}
		g.Cases = append(g.Cases, c)
	}
	return groups
}

//go:embed report.tmpl
var source string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"took": func(seconds float64) string {
		return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
	},
	"within": func(g *Group, c Case) string { return strings.TrimPrefix(c.Name, g.Name+"/") },
	"quote":  shell.Quote,
	"percent": func(part, whole int) string {
		return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(max(whole, 1)))
	},
}).Parse(source))

// HTML returns the results as a page of HTML that needs no other files.
func (r *Run) HTML() []byte {
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		panic("report: " + err.Error()) // the template is fixed, and tested
	}
	return b.Bytes()
}

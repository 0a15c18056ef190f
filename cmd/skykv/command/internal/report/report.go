// Package report holds the results of a run of the conformance suite, as JSON and
// as a page that a person would like to read and pass on.
package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"
)

// Run is one run of the suite. Its JSON is what skykv conformance --json prints.
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
	Cases    []Case    `json:"cases"`
}

// Case is the result of one case.
type Case struct {
	Name     string   `json:"name"`
	Rule     string   `json:"rule"`
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
	Seconds  float64  `json:"seconds"`
}

// Add adds the result of one case.
func (r *Run) Add(name, rule string, failures []string, took time.Duration) {
	c := Case{Name: name, Rule: rule, Passed: len(failures) == 0, Failures: failures, Seconds: took.Seconds()}
	if c.Passed {
		r.Passed++
	} else {
		r.Failed++
	}
	r.Cases = append(r.Cases, c)
}

// Duration is how long the run took.
func (r *Run) Duration() time.Duration { return time.Duration(r.Seconds * float64(time.Second)) }

// Group is the cases that share the first part of their names.
type Group struct {
	Name   string
	Passed int
	Cases  []Case
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
		if c.Passed {
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
	"percent": func(part, whole int) string {
		return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(max(whole, 1)))
	},
}).Parse(source))

// HTML returns the page: one file that needs no other.
func (r *Run) HTML() []byte {
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		panic("report: " + err.Error()) // the template is fixed, and tested
	}
	return b.Bytes()
}

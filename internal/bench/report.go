package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// stores are the columns of the report. In each work, the first store in this list that did
// the work is the base, with which the others are compared.
var stores = []string{
	"map", "otter", "sqlite", "sdk", "sdk-default", "loop", "get-and-put", "one-query", "skykv", "docstore", "gokv", "bbolt",
	"sdk-with-conditions", "sdk-high-level", "sdk-512-idle", "docstore-512-idle", "loop-with-backoff",
	"aead", "skykv-sealed", "skykv-hedged", "skykv-otel", "skykv-if-not-exists", "skykv-of-2-stores", "skykv-cold-key", "skykv-in-turns",
	"sqlite-x2", "skykv-x2", "bbolt-x2", "gokv-x2",
}

// peers are the stores that the summary compares with the base of each work. title is the
// heading of the store's column, and store is its name in the results.
var peers = []struct{ title, store string }{
	{"skykv", "skykv"}, {"gocloud.dev/docstore", "docstore"}, {"gokv", "gokv"},
}

// notMeasured begins a line of the results file that says why a work was not measured.
const notMeasured = "# not measured: "

// measurements are the results of a run.
type measurements struct {
	works  []string             // in the order in which they were measured
	rounds map[figure][]float64 // the value of each figure in each round
	notes  []string             // which works were not measured, and why
}

// figure says what was measured: of which store, for which work, and in which unit.
type figure struct{ work, store, unit string }

func readMeasurements(file string) (measurements, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return measurements{}, err
	}
	m := measurements{rounds: make(map[figure][]float64)}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if note, ok := strings.CutPrefix(lines.Text(), notMeasured); ok {
			m.notes = append(m.notes, note)
		}
	}
	for reader := benchfmt.NewReader(bytes.NewReader(content), file); reader.Scan(); {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return m, record
		case *benchfmt.Result:
			work, store, _ := strings.Cut(record.Name.String(), "/store=")
			if !slices.Contains(m.works, work) {
				m.works = append(m.works, work)
			}
			for _, v := range record.Values {
				f := figure{work, store, v.Unit}
				m.rounds[f] = append(m.rounds[f], v.Value)
			}
		}
	}
	return m, nil
}

// median returns the median of a figure over the rounds, or NaN if it was not measured.
func (m measurements) median(work, store, unit string) float64 {
	rounds := m.rounds[figure{work, store, unit}]
	if len(rounds) == 0 {
		return math.NaN()
	}
	return median(rounds)
}

// ratio divides store's figure by base's figure in each round, and returns the median of the
// ratios. It returns NaN if either store was not measured.
func (m measurements) ratio(work, store, base, unit string) float64 {
	a, b := m.rounds[figure{work, store, unit}], m.rounds[figure{work, base, unit}]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, a[i]/b[i])
	}
	if len(ratios) == 0 {
		return math.NaN()
	}
	return median(ratios)
}

// The units as benchfmt names them.
const (
	timeUnit   = "sec/op"
	allocsUnit = "allocs/op"
)

// base returns the store with which the others are compared in the given work.
func (m measurements) base(work string) string {
	for _, store := range stores {
		if len(m.rounds[figure{work, store, timeUnit}]) > 0 {
			return store
		}
	}
	return ""
}

// printSummary prints the times and allocations of the works as a table. It leaves out the works
// in which skykv is the base, and the work of localScaling.
func printSummary(m measurements, out io.Writer) {
	fmt.Fprint(out, "| Work | beside |")
	for _, peer := range peers {
		fmt.Fprintf(out, " %s |", peer.title)
	}
	fmt.Fprint(out, " allocations |\n|---|---|---|---|---|---|\n")
	for _, work := range m.works {
		base := m.base(work)
		if base == "skykv" || len(m.rounds[figure{work, "skykv-x2", timeUnit}]) > 0 {
			continue // skykv is the base, or each store is compared to itself
		}
		fmt.Fprintf(out, "| %s | %s |", workTitle(work), base)
		allocs := []string{base + " " + count(m.median(work, base, allocsUnit))}
		for _, peer := range peers {
			fmt.Fprintf(out, " %s |", times(m.ratio(work, peer.store, base, timeUnit)))
			if n := m.median(work, peer.store, allocsUnit); !math.IsNaN(n) {
				allocs = append(allocs, peer.store+" "+count(n))
			}
		}
		fmt.Fprintf(out, " %s |\n", strings.Join(allocs, ", "))
	}
	for _, note := range m.notes {
		fmt.Fprintf(out, "\nNot measured: %s\n", note)
	}
	fmt.Fprintln(out)
}

// workTitle turns Get/service=dynamodb/delay=5ms into "dynamodb Get, 5ms per request".
func workTitle(work string) string {
	name, rest, _ := strings.Cut(work, "/service=")
	service, delay, delayed := strings.Cut(rest, "/delay=")
	if delayed {
		delay = ", " + delay + " per request"
	}
	return service + " " + name + delay
}

// The function times returns a ratio of times as a text: "1/20" if it is less than a tenth,
// or "0.95".
func times(ratio float64) string {
	switch {
	case math.IsNaN(ratio):
		return ""
	case ratio < 0.1:
		return fmt.Sprintf("1/%.0f", 1/ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

func count(n float64) string {
	if n >= 10_000 {
		return fmt.Sprintf("%.0fk", n/1000)
	}
	return fmt.Sprintf("%.0f", n)
}

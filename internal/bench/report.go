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

// stores are the columns of the report. In each work the others are compared to
// the first that did it.
var stores = []string{
	"map", "otter", "sqlite", "sdk", "sdk-default", "loop", "get-and-put", "one-query", "skykv", "docstore", "gokv", "bbolt",
	"sdk-high-level", "sdk-512-idle", "docstore-512-idle", "loop-with-backoff",
	"aead", "skykv-sealed", "skykv-hedged", "skykv-otel", "skykv-if-not-exists", "skykv-of-2-stores", "skykv-cold-key", "skykv-in-turns",
	"sqlite-x2", "skykv-x2", "bbolt-x2", "gokv-x2",
}

// peers are the stores in the summary, with their names in results.
var peers = []struct{ title, store string }{
	{"skykv", "skykv"}, {"gocloud.dev/docstore", "docstore"}, {"gokv", "gokv"},
}

// notMeasured begins the lines of results that say why there are none.
const notMeasured = "# not measured: "

// measurements are the results of a run, for each round in turn.
type measurements struct {
	works  []string // in their order
	rounds map[figure][]float64
	notes  []string
}

// figure is a result of a store for one work.
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

// median is the median of what was measured, NaN if nothing was.
func (m measurements) median(work, store, unit string) float64 {
	rounds := m.rounds[figure{work, store, unit}]
	if len(rounds) == 0 {
		return math.NaN()
	}
	return median(rounds)
}

// ratio is the median of the ratios of two stores in each round, NaN if one was
// not measured.
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

// base is the store that others are compared to in a work.
func (m measurements) base(work string) string {
	for _, store := range stores {
		if len(m.rounds[figure{work, store, timeUnit}]) > 0 {
			return store
		}
	}
	return ""
}

// printSummary prints the times and allocations of each work as a table.
func printSummary(m measurements, out io.Writer) {
	fmt.Fprint(out, "| Work | beside |")
	for _, peer := range peers {
		fmt.Fprintf(out, " %s |", peer.title)
	}
	fmt.Fprint(out, " allocations |\n|---|---|---|---|---|---|\n")
	for _, work := range m.works {
		base := m.base(work)
		if base == "skykv" || len(m.rounds[figure{work, "skykv-x2", timeUnit}]) > 0 {
			continue // nobody else did it, or skykv is compared to itself
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

// workTitle makes "dynamodb Get, 5ms" of Get/service=dynamodb/delay=5ms.
func workTitle(work string) string {
	name, rest, _ := strings.Cut(work, "/service=")
	service, delay, delayed := strings.Cut(rest, "/delay=")
	if delayed {
		delay = ", " + delay + " per request"
	}
	return service + " " + name + delay
}

// times shows a ratio of times.
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

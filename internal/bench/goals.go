package main

import (
	"fmt"
	"io"
	"math"
)

// goal is a figure that is to be reached.
type goal struct {
	name    string
	measure func(measurements) float64 // NaN when it was not measured
	atLeast bool                       // else at most
	bound   float64
	unit    string
}

const mebibyte = 1 << 20

func goals() []goal {
	ratio := func(work, store, base, unit string) func(measurements) float64 {
		return func(m measurements) float64 { return m.ratio(work, store, base, unit) }
	}
	heap := func(work string) func(measurements) float64 {
		return func(m measurements) float64 { return m.median(work, "skykv", heapUnit) / mebibyte }
	}
	var all []goal
	for _, service := range []string{"dynamodb", "firestore", "aztables"} {
		for _, op := range []string{"Get", "Put"} {
			work := op + "/service=" + service
			all = append(all,
				goal{name: service + " " + op + ": time, of the SDK's", measure: ratio(work, "skykv", "sdk", timeUnit), bound: 1.05},
				goal{name: service + " " + op + ": allocations, of the SDK's", measure: ratio(work, "skykv", "sdk", allocsUnit), bound: 1.05})
			if service != "aztables" { // docstore has no Azure Tables
				all = append(all, goal{name: service + " " + op + ": allocations, of docstore's", measure: ratio(work, "skykv", "docstore", allocsUnit), bound: 0.999})
			}
		}
	}
	const near, far = "Get-by-64/service=dynamodb-tls", "Get-by-64/service=dynamodb-tls/delay=5ms"
	const scan, farScan = "Scan-100000/service=dynamodb", "Scan-100000/service=dynamodb/delay=50ms"
	const few = "Scan-10/service=dynamodb/delay=5ms"
	const two = "Get-of-2-goroutines/service=local"
	all = append(all,
		goal{name: "64 goroutines over TLS: throughput, of the SDK's default client's", measure: ratio(near, "sdk-default", "skykv", timeUnit), atLeast: true, bound: 2},
		goal{name: "64 goroutines over TLS, 5 ms: throughput, of the SDK's default client's", measure: ratio(far, "sdk-default", "skykv", timeUnit), atLeast: true, bound: 1.15},
		goal{name: "scan of 100,000, 50 ms: speed, of the sequential scan's", measure: ratio(farScan, "sdk", "skykv", timeUnit), atLeast: true, bound: 6},
		goal{name: "scan of 100,000, 50 ms: time, of the scan without delay", measure: func(m measurements) float64 {
			return m.median(farScan, "skykv", timeUnit) / m.median(scan, "skykv", timeUnit)
		}, bound: 1.5},
		goal{name: "scan of 100,000, 50 ms: heap", measure: heap(farScan), bound: 80, unit: " MiB"},
		goal{name: "scan of 1,000,000: heap", measure: heap("Scan-1000000/service=dynamodb"), bound: 80, unit: " MiB"},
		goal{name: "scan of a prefix with 10: round trips", measure: ratio(few, "skykv", "one-query", timeUnit), bound: 1.3},
	)
	for _, batch := range []struct {
		service string
		bound   float64
	}{{"dynamodb", 20}, {"firestore", 20}, {"aztables", 10}} {
		all = append(all, goal{name: batch.service + " GetMany of 1,000, 5 ms: speed, of a loop's",
			measure: ratio("GetMany-1000/service="+batch.service+"/delay=5ms", "sdk", "skykv", timeUnit), atLeast: true, bound: batch.bound})
	}
	return append(all,
		goal{name: "localkv Get: time, of SQLite's", measure: ratio("Get/service=local", "skykv", "sqlite", timeUnit), bound: 1.2},
		goal{name: "localkv durable Put: time, of SQLite's", measure: ratio("Put-durable/service=local", "skykv", "sqlite", timeUnit), bound: 1.2},
		goal{name: "localkv Get by 2 goroutines: speed, of one's", measure: ratio(two, "skykv", "skykv-x2", timeUnit), atLeast: true, bound: 1.6},
		goal{name: "memkv Get: time, of a locked map's", measure: ratio("Get/service=memory", "skykv", "map", timeUnit), bound: 1.5},
		goal{name: "memkv Get: allocations", measure: func(m measurements) float64 { return m.median("Get/service=memory", "skykv", allocsUnit) }, bound: 1.01},
	)
}

// printGoals prints a line for each goal.
func printGoals(m measurements, out io.Writer) {
	for _, g := range goals() {
		value := g.measure(m)
		comparison, met := "at most", value <= g.bound
		if g.atLeast {
			comparison, met = "at least", value >= g.bound
		}
		verdict := "missed"
		if met {
			verdict = "met"
		}
		if math.IsNaN(value) {
			fmt.Fprintf(out, "goal %s: not measured\n", g.name)
			continue
		}
		fmt.Fprintf(out, "goal %s: %.4g%s, %s %.4g%s, %s\n", g.name, value, g.unit, comparison, g.bound, g.unit, verdict)
	}
}

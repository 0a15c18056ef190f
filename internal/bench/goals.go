package main

import (
	"fmt"
	"io"
	"math"
)

// goal is a bound for a figure.
type goal struct {
	name    string
	measure func(measurements) float64 // returns NaN if the figure was not measured
	atLeast bool                       // the figure must be at least, not at most, the bound
	bound   float64
	unit    string
}

const mebibyte = 1 << 20

func goals() []goal {
	ratio := func(work, store, base, unit string) func(measurements) float64 {
		return func(m measurements) float64 { return m.ratio(work, store, base, unit) }
	}
	median := func(work, store, unit string) func(measurements) float64 {
		return func(m measurements) float64 { return m.median(work, store, unit) }
	}
	heap := func(work string) func(measurements) float64 {
		return func(m measurements) float64 { return m.median(work, "skykv", heapUnit) / mebibyte }
	}
	var all []goal
	for _, service := range []string{"dynamodb", "firestore", "aztables"} {
		for _, op := range []string{"Get", "Put"} {
			work := op + "/service=" + service
			all = append(all,
				goal{name: service + " " + op + ": time, relative to the SDK", measure: ratio(work, "skykv", "sdk", timeUnit), bound: 1.05},
				goal{name: service + " " + op + ": allocations, relative to the SDK", measure: ratio(work, "skykv", "sdk", allocsUnit), bound: 1.05})
			if service != "aztables" { // docstore does not support Azure Tables
				all = append(all, goal{name: service + " " + op + ": allocations, relative to docstore", measure: ratio(work, "skykv", "docstore", allocsUnit), bound: 0.999})
			}
		}
	}
	const near, far = "Get-by-64/service=dynamodb-tls", "Get-by-64/service=dynamodb-tls/delay=5ms"
	const scan, farScan = "Scan-100000/service=dynamodb", "Scan-100000/service=dynamodb/delay=50ms"
	const few = "Scan-10/service=dynamodb/delay=5ms"
	const group, touch = "Scan-group-10/service=dynamodb/delay=5ms", "Touch-24KiB/service=dynamodb/delay=5ms"
	const two = "Get-of-2-goroutines/service=local"
	all = append(all,
		goal{name: "64 goroutines over TLS: throughput, relative to the SDK's default client", measure: ratio(near, "sdk-default", "skykv", timeUnit), atLeast: true, bound: 2},
		goal{name: "64 goroutines over TLS, 5 ms: throughput, relative to the SDK's default client", measure: ratio(far, "sdk-default", "skykv", timeUnit), atLeast: true, bound: 1.15},
		goal{name: "scan of 100,000, 50 ms: speed, relative to the sequential scan", measure: ratio(farScan, "sdk", "skykv", timeUnit), atLeast: true, bound: 6},
		goal{name: "scan of 100,000, 50 ms: time, relative to the scan without delay", measure: func(m measurements) float64 {
			return m.median(farScan, "skykv", timeUnit) / m.median(scan, "skykv", timeUnit)
		}, bound: 1.5},
		goal{name: "scan of 100,000, 50 ms: heap", measure: heap(farScan), bound: 80, unit: " MiB"},
		goal{name: "scan of 1,000,000: heap", measure: heap("Scan-1000000/service=dynamodb"), bound: 80, unit: " MiB"},
		goal{name: "scan of a prefix with 10: round trips", measure: ratio(few, "skykv", "one-query", timeUnit), bound: 1.3},
		goal{name: "scan of a group of 10 among 1,000,000: round trips", measure: ratio(group, "skykv", "one-query", timeUnit), bound: 1.1},
		goal{name: "scan of a group of 10 among 1,000,000: requests", measure: median(group, "skykv", requestsUnit), bound: 1},
		goal{name: "dynamodb Touch of 24 KiB, 5 ms: speed, relative to a Get and a Put", measure: ratio(touch, "get-and-put", "skykv", timeUnit), atLeast: true, bound: 1.7},
		goal{name: "dynamodb Touch of 24 KiB: bytes sent and received, relative to a Get and a Put", measure: ratio(touch, "skykv", "get-and-put", wireUnit), bound: 1.0 / 30},
		goal{name: "memkv, 50 goroutines on one counter: time, relative to a loop of Get and Put", measure: ratio("Increment-by-50/service=memory", "skykv", "loop", timeUnit), bound: 1.2},
	)
	for _, op := range []string{"Get", "Put"} {
		work := op + "-sealed/service=memory"
		// added returns a function that returns what sealing costs besides the encryption. It is
		// the figure of a sealed operation, less the figures of the same operation without sealing
		// and of the encryption alone, which is the store "aead".
		added := func(unit string) func(measurements) float64 {
			return func(m measurements) float64 {
				return m.median(work, "skykv-sealed", unit) - m.median(work, "skykv", unit) - m.median(work, "aead", unit)
			}
		}
		all = append(all,
			goal{name: "seal, " + op + " of 1 KiB: time without the AEAD", measure: func(m measurements) float64 { return added(timeUnit)(m) * 1e6 }, bound: 3, unit: " µs"},
			goal{name: "seal, " + op + " of 1 KiB: allocations without the AEAD", measure: added(allocsUnit), bound: 3})
	}
	for _, by := range []struct {
		words, service string
		bound          float64
	}{{"a simulated service", "simulated", 1.0 / 8}, {"TLS", "dynamodb-tls", 1.0 / 6}} {
		work := "Get-hedged/service=" + by.service + "/delay=2ms"
		all = append(all,
			goal{name: "hedge, 2 ms and 1 % at 100 ms, " + by.words + ": 99.9th percentile, relative to a plain Get", measure: ratio(work, "skykv-hedged", "skykv", p999Unit), bound: by.bound},
			goal{name: "hedge, 2 ms and 1 % at 100 ms, " + by.words + ": median, relative to a plain Get", measure: ratio(work, "skykv-hedged", "skykv", p50Unit), bound: 1.03},
			goal{name: "hedge, 2 ms and 1 % at 100 ms, " + by.words + ": requests, relative to plain Gets", measure: ratio(work, "skykv-hedged", "skykv", requestsUnit), bound: 1.02})
	}
	for _, service := range []string{"dynamodb", "firestore", "aztables"} {
		work := "AtomicWrite-10/service=" + service
		all = append(all,
			goal{name: service + " AtomicWrite of 10: time, relative to the SDK's transaction", measure: ratio(work, "skykv", "sdk", timeUnit), bound: 1.1},
			goal{name: service + " AtomicWrite of 10 with conditions that hold: requests", measure: median(work, "skykv-if-not-exists", requestsUnit), bound: 1})
	}
	for _, service := range []string{"local", "dynamodb", "firestore", "aztables"} {
		work := "Increment-by-50/service=" + service + "/delay=5ms"
		for _, by := range []struct{ words, store string }{{"", "skykv"}, {" of two stores", "skykv-of-2-stores"}} {
			all = append(all, goal{name: service + ", 50 goroutines" + by.words + " on one counter, 5 ms: requests for each increment", measure: median(work, by.store, requestsUnit), bound: 0.1})
		}
		// One store makes its requests one after another, so their delays add up.
		all = append(all, goal{name: service + ", 50 goroutines on one counter, 5 ms: time, relative to its requests' delays", measure: func(m measurements) float64 {
			return m.median(work, "skykv", timeUnit) / (m.median(work, "skykv", requestsUnit) * updateDelay.Seconds())
		}, bound: 1.5})
	}
	for _, service := range []string{"dynamodb", "firestore", "aztables"} {
		work := "Increment/service=" + service + "/delay=5ms"
		for _, of := range []struct {
			words, store string
			bound        float64
		}{{"a known key", "skykv", 1.05}, {"a cold key", "skykv-cold-key", 2.05}, {"a key in turns with another store", "skykv-in-turns", 2.05}} {
			all = append(all, goal{name: service + " Increment of " + of.words + ": requests", measure: median(work, of.store, requestsUnit), bound: of.bound})
		}
	}
	for _, batch := range []struct {
		service string
		bound   float64
	}{{"dynamodb", 20}, {"firestore", 20}, {"aztables", 10}} {
		all = append(all, goal{name: batch.service + " GetMany of 1,000, 5 ms: speed, relative to a loop",
			measure: ratio("GetMany-1000/service="+batch.service+"/delay=5ms", "sdk", "skykv", timeUnit), atLeast: true, bound: batch.bound})
	}
	all = append(all,
		goal{name: "a hit of kv/cache: time, relative to otter with a copy", measure: ratio("Get-hit/service=cache", "skykv", "otter", timeUnit), bound: 2},
		goal{name: "a hit of kv/cache: allocations", measure: median("Get-hit/service=cache", "skykv", allocsUnit), bound: 1.01},
	)
	all = append(all, telemetryGoals()...)
	return append(all,
		goal{name: "localkv Get: time, relative to SQLite", measure: ratio("Get/service=local", "skykv", "sqlite", timeUnit), bound: 1.2},
		goal{name: "localkv durable Put: time, relative to SQLite", measure: ratio("Put-durable/service=local", "skykv", "sqlite", timeUnit), bound: 1.2},
		goal{name: "localkv Get by 2 goroutines: speed, relative to one", measure: ratio(two, "skykv", "skykv-x2", timeUnit), atLeast: true, bound: 1.6},
		goal{name: "memkv Get: time, relative to a locked map", measure: ratio("Get/service=memory", "skykv", "map", timeUnit), bound: 1.5},
		goal{name: "memkv Get: allocations", measure: median("Get/service=memory", "skykv", allocsUnit), bound: 1.01},
	)
}

// judge returns the measured figure, the bound, and whether the goal is met. If the figure was
// not measured, measured is empty.
func (g goal) judge(m measurements) (measured, wanted, verdict string) {
	value := g.measure(m)
	comparison, met := "at most", value <= g.bound
	if g.atLeast {
		comparison, met = "at least", value >= g.bound
	}
	wanted = fmt.Sprintf("%s %.4g%s", comparison, g.bound, g.unit)
	switch {
	case math.IsNaN(value):
		return "", wanted, "not measured"
	case met:
		verdict = "met"
	default:
		verdict = "missed"
	}
	return fmt.Sprintf("%.4g%s", value, g.unit), wanted, verdict
}

// printGoals prints a line for each goal.
func printGoals(m measurements, out io.Writer) {
	for _, g := range goals() {
		measured, wanted, verdict := g.judge(m)
		if measured == "" {
			fmt.Fprintf(out, "goal %s: %s\n", g.name, verdict)
			continue
		}
		fmt.Fprintf(out, "goal %s: %s, %s, %s\n", g.name, measured, wanted, verdict)
	}
}

// tabulateGoals prints the goals as a table.
func tabulateGoals(m measurements, out io.Writer) {
	fmt.Fprint(out, "| Goal | wanted | measured | |\n|---|---|---|---|\n")
	for _, g := range goals() {
		measured, wanted, verdict := g.judge(m)
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", g.name, wanted, measured, verdict)
	}
}

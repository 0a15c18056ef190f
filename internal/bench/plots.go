package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg"
)

// bars is a bar chart. Each group has one bar for each series.
type bars struct {
	title, axis string
	groups      []string
	series      []series
	line        float64 // if not zero, a line is drawn across the chart at this value
	logarithmic bool
}

type series struct {
	name   string
	values []float64 // one for each group; NaN for no bar
}

// colors has the index of each store's color in plotutil.DefaultColors. A store has the same
// color in all charts.
var colors = map[string]int{
	"sdk": 0, "sdk-default": 0, "skykv": 1, "docstore": 2, "docstore-512-idle": 2, "gokv": 3, "sdk-512-idle": 4,
}

// writePlots draws the charts that docs/figures.md shows.
func writePlots(m measurements, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var single []string
	var names []string
	for _, service := range []string{"dynamodb", "firestore", "aztables"} {
		for _, op := range []string{"Get", "Put"} {
			single = append(single, op+"/service="+service)
			names = append(names, service+" "+op)
		}
	}
	many := []string{
		"Scan-100000/service=dynamodb/delay=50ms", "Scan-10/service=dynamodb/delay=5ms", "GetMany-1000/service=dynamodb/delay=5ms",
		"GetMany-1000/service=firestore/delay=5ms", "GetMany-1000/service=aztables/delay=5ms",
	}
	concurrent := []string{"Get-by-64/service=dynamodb-tls", "Get-by-64/service=dynamodb-tls/delay=5ms"}
	perSecond := func(work, store string) float64 { return 1 / m.median(work, store, timeUnit) / 1000 }
	seconds := func(work, store string) float64 { return m.median(work, store, timeUnit) }
	for file, chart := range map[string]bars{
		"time.svg": {
			title: "Time of one operation, canned server", axis: "times the raw SDK's", groups: names, line: 1,
			series: collect(single, func(work, store string) float64 { return m.ratio(work, store, "sdk", timeUnit) },
				"skykv", "docstore", "gokv"),
		},
		"allocations.svg": {
			title: "Allocations of one operation", axis: "times the raw SDK's", groups: names, line: 1,
			series: collect(single, func(work, store string) float64 { return m.ratio(work, store, "sdk", allocsUnit) },
				"skykv", "docstore", "gokv"),
		},
		"many.svg": {
			title: "Many entries, each request delayed", axis: "seconds", logarithmic: true,
			groups: []string{"scan of 100,000\ndynamodb, 50 ms", "scan of 10\ndynamodb, 5 ms", "GetMany of 1,000\ndynamodb, 5 ms", "GetMany of 1,000\nfirestore, 5 ms", "GetMany of 1,000\naztables, 5 ms"},
			series: collect(many, seconds, "sdk", "skykv", "docstore"),
		},
		"concurrency.svg": {
			title: "Gets of 64 goroutines over TLS", axis: "thousand a second",
			groups: []string{"no delay", "5 ms per request"},
			series: collect(concurrent, perSecond, "sdk-default", "skykv", "sdk-512-idle", "docstore-512-idle", "gokv"),
		},
	} {
		if err := chart.write(filepath.Join(folder, file)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func collect(works []string, value func(work, store string) float64, stores ...string) []series {
	var all []series
	for _, store := range stores {
		s := series{name: store}
		for _, work := range works {
			s.values = append(s.values, value(work, store))
		}
		all = append(all, s)
	}
	return all
}

func (c bars) write(file string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = c.title
	p.Y.Label.Text = c.axis
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(2)
	p.NominalX(c.groups...)
	p.X.Min, p.X.Max = -0.6, float64(len(c.groups))-0.4
	p.Y.Min = 0
	// On a logarithmic axis, bars begin at a power of ten that is not above the least
	// positive value.
	floor := math.Inf(1)
	for _, s := range c.series {
		for _, v := range s.values {
			if v > 0 {
				floor = min(floor, math.Floor(math.Log10(v)))
			}
		}
	}
	if math.IsInf(floor, 1) {
		return nil // nothing in this chart was measured
	}
	const width = 14 // the width of a bar, in points
	for i, s := range c.series {
		heights := make(plotter.Values, len(s.values))
		for j, v := range s.values {
			switch {
			case math.IsNaN(v): // no bar
			case c.logarithmic:
				heights[j] = math.Log10(v) - floor
			default:
				heights[j] = v
			}
		}
		chart, err := plotter.NewBarChart(heights, vg.Points(width))
		if err != nil {
			return err
		}
		chart.Color = plotutil.Color(colors[s.name])
		chart.LineStyle.Width = 0
		chart.Offset = vg.Points(width * (float64(i) - float64(len(c.series)-1)/2))
		p.Add(chart)
		p.Legend.Add(s.name, chart)
	}
	if c.logarithmic {
		p.Y.Max = math.Ceil(p.Y.Max)
		var ticks plot.ConstantTicks
		for power := 0.0; power <= p.Y.Max; power++ {
			ticks = append(ticks, plot.Tick{Value: power, Label: fmt.Sprintf("%g", math.Pow(10, power+floor))})
		}
		p.Y.Tick.Marker = ticks
	}
	p.Y.Max *= 1.25 // room for the legend
	if c.line != 0 {
		line, err := plotter.NewLine(plotter.XYs{{X: -0.5, Y: c.line}, {X: float64(len(c.groups)) - 0.5, Y: c.line}})
		if err != nil {
			return err
		}
		line.Dashes = plotutil.Dashes(1)
		p.Add(line)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	return p.Save(vg.Points(560), vg.Points(260), file)
}

package dynamokv

import (
	"testing"

	"github.com/skykv/skykv/kv"
)

// The rule: a meter counts every request and every attempt, even those that ended with an
// error.
func TestMeter(t *testing.T) {
	t.Parallel()
	failed := refuse(500, "InternalServerError", "oops")
	done := batch(func(string, int) bool { return false })
	first := batch(func(key string, n int) bool { return key == "key-0" && n == 0 })
	writes := func(n int, cond kv.Condition) (many kv.WriteManyRequest) {
		for _, key := range names(n) {
			many.Writes = append(many.Writes, put(key, cond).Write)
		}
		return many
	}
	type meters struct{ requests, attempts int }
	for _, test := range []struct {
		name    string
		answers []answer
		do      func(*driver, *kv.Meter)
		want    meters
	}{
		{"Get", []answer{failed, ok("{}")}, func(d *driver, m *kv.Meter) {
			_, _ = d.Get(t.Context(), kv.GetRequest{Key: "key", Meter: m})
		}, meters{1, 2}},
		{"Get that fails", []answer{failed}, func(d *driver, m *kv.Meter) {
			_, _ = d.Get(t.Context(), kv.GetRequest{Key: "key", Meter: m})
		}, meters{1, 3}},
		{"GetMany", []answer{failed, done}, func(d *driver, m *kv.Meter) {
			for range d.GetMany(t.Context(), kv.GetManyRequest{Keys: names(250), Meter: m}) {
			}
		}, meters{3, 4}},
		{"GetMany with an unprocessed key", []answer{failed, first, done}, func(d *driver, m *kv.Meter) {
			for range d.GetMany(t.Context(), kv.GetManyRequest{Keys: names(2), Meter: m}) {
			}
		}, meters{2, 3}},
		{"Scan", []answer{failed, page("b"), failed, failed, page("")}, func(d *driver, m *kv.Meter) {
			req := all
			req.Meter = m
			for range d.Scan(t.Context(), req) {
			}
		}, meters{2, 5}},
		{"Write of a put", []answer{cut, ok("{}")}, func(d *driver, m *kv.Meter) {
			w := put("key", kv.Condition{})
			w.Meter = m
			_, _ = d.Write(t.Context(), w)
		}, meters{1, 2}},
		{"Write of a put whose condition fails", []answer{failed, conditionFailed(itemJSON("key", "value", token, 0))}, func(d *driver, m *kv.Meter) {
			w := put("key", kv.Condition{Kind: kv.CondAbsent})
			w.Meter = m
			_, _ = d.Write(t.Context(), w)
		}, meters{1, 2}},
		{"Write of a deletion", []answer{failed, ok("{}")}, func(d *driver, m *kv.Meter) {
			w := put("key", kv.Condition{})
			w.Kind, w.Meter = kv.KindDelete, m
			_, _ = d.Write(t.Context(), w)
		}, meters{1, 2}},
		{"WriteMany", []answer{failed, done}, func(d *driver, m *kv.Meter) {
			req := writes(60, kv.Condition{})
			req.Meter = m
			_ = d.WriteMany(t.Context(), req)
		}, meters{3, 4}},
		{"WriteMany with conditions", []answer{failed, ok("{}")}, func(d *driver, m *kv.Meter) {
			req := writes(5, kv.Condition{Kind: kv.CondAbsent})
			req.Meter = m
			_ = d.WriteMany(t.Context(), req)
		}, meters{5, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := new(kv.Meter)
			f := newFake(t, test.answers...)
			test.do(f.driver(t), m)
			if got := (meters{m.Requests(), m.Attempts()}); got != test.want || got.attempts != len(f.ops()) {
				t.Errorf("rule: a meter counts requests and attempts; it has %+v, want %+v, and the service saw %d", got, test.want, len(f.ops()))
			}
		})
	}
}

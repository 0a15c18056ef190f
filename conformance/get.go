package conformance

import (
	"fmt"

	"github.com/skykv/skykv/kv"
)

func getCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases, rule("get/"+s.name,
			"Get, Exists, GetMany and the scans agree on the entry, even right after a write. An expired entry is absent. Here the key "+s.words+".",
			func(t *trial) {
				_, was := t.prepare(s)
				if !s.live {
					t.wantGone("key")
					return
				}
				t.wantLive("key", want{"old", was.entry.Version, was.entry.ExpiresAt})
			}))
	}
	return append(cases,
		rule("get/own-writes",
			"Reads are strongly consistent: every read sees the last acknowledged write.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					v := t.put("key", value)
					t.wantEntry("Get", t.get("key"), "key", want{value: value, version: v})
					t.delete("key")
					t.wantAbsent("key")
				}
			}),
		rule("get/own-writes-exists",
			"Exists is strongly consistent: it sees the last acknowledged write.",
			func(t *trial) {
				for range 5 {
					t.put("key", "value")
					if ok, err := t.Exists(t.ctx, "key"); !ok || err != nil {
						t.Errorf("Exists after Put = %v, %v", ok, err)
					}
					t.delete("key")
					if ok, err := t.Exists(t.ctx, "key"); ok || err != nil {
						t.Errorf("Exists after Delete = %v, %v", ok, err)
					}
				}
			}),
		rule("get/own-writes-get-many",
			"GetMany is strongly consistent: it sees the last acknowledged writes.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					t.fill(kv.Item{Key: "a", Value: []byte(value)}, kv.Item{Key: "b", Value: []byte(value)})
					t.delete("b")
					entries := t.getMany("a", "b")
					t.wantEntry("GetMany", entries["a"], "a", want{value: value})
					if _, ok := entries["b"]; ok {
						t.Errorf("GetMany returns an entry that was deleted")
					}
				}
			}),
		rule("get/own-writes-scan",
			"Scans are strongly consistent: they see the last acknowledged writes.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					v := t.put("a", value)
					t.put("b", value)
					t.delete("b")
					entries := t.scan("")
					t.wantKeys("Scan", entries, []string{"a"})
					for _, e := range entries {
						t.wantEntry("Scan", e, "a", want{value: value, version: v})
					}
				}
			}),
	)
}

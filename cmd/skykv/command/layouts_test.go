package command

import (
	"strings"
	"testing"
)

// The rule: the commands support both layouts of a service, and move entries between
// them.
func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		backend   backend
		provision string // what provision prints for a table or collection in the layout of the Alien platform
	}{
		{backends[1], "write the layout record"},
		{backends[2], "nothing to do"}, // on Firestore, this layout has no layout record, and the emulator has no settings
		{backends[3], "write the layout record"},
	} {
		t.Run(c.backend.name, func(t *testing.T) {
			t.Parallel()
			own, shared := c.backend.open(t), c.backend.fresh(t)+"&layout=alien"
			if got := good(t, "provision", shared); !strings.Contains(got, c.provision) {
				t.Errorf("provision of a shared table prints %q", got)
			}
			good(t, "put", own, "a", "1", "--ttl", "1h")
			good(t, "put", own, "b", "2")
			good(t, "copy", own, shared, "--verify")
			if c.backend.name == "firestore" {
				good(t, "put", own, "..", "3")
				bad(t, exitFailure, `entry "..": kv: invalid key: firestore-alien cannot store`, "copy", own, shared)
				bad(t, exitUsage, "invalid key", "put", shared, "..", "3")
				good(t, "delete", own, "..")
			}
			good(t, "put", shared, "c", "3")
			good(t, "copy", shared, own, "--verify")
			if got := good(t, "get", own, "c"); got != "3" {
				t.Errorf("what was copied back is %q; want 3", got)
			}
			if got := good(t, "doctor", shared); !strings.Contains(got, "ok    layout") {
				t.Errorf("doctor of a shared table prints\n%s", got)
			}
			for url, want := range map[string]string{
				own + "&layout=alien": "layout=skykv", strings.Replace(shared, "layout=alien", "layout=skykv", 1): "layout=alien",
			} {
				o := skykv(t, "", "doctor", url)
				if o.code != exitFindings || !strings.Contains(o.stdout, "fail  layout") || !strings.Contains(o.stdout, "set "+want) {
					t.Errorf("doctor in another layout: %+v; want the name %s", o, want)
				}
				bad(t, exitUnusable, "want "+want, "get", url, "a")
				bad(t, exitUnusable, want, "provision", url)
			}
		})
	}
}

package conformance

import "github.com/skykv/skykv/kv"

func deleteCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases, rule("delete/none/"+s.name,
			"Delete without a condition removes the entry if there is one. Deleting an absent key is not an error. Here the key "+s.words+".",
			func(t *trial) {
				t.fillKeys("ke", "key1")
				t.prepare(s)
				if err := t.Delete(t.ctx, "key"); err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
				t.wantContent("ke", "key1")
			}))
	}
	for _, s := range states {
		cases = append(cases, rule("delete/if-version/"+s.name,
			"Delete with IfVersion removes the entry only if it is still in the state that the version names. Otherwise it returns ErrConditionFailed and changes nothing. Here the key "+s.words+".",
			func(t *trial) {
				v, was := t.prepare(s)
				err := t.Delete(t.ctx, "key", kv.IfVersion(v))
				if !s.current {
					t.wantError("Delete", err, kv.ErrConditionFailed)
					t.wantUnchanged(was)
					return
				}
				if err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
			}))
	}
	for _, f := range foreignVersions {
		cases = append(cases, rule("delete/if-version/"+f.name,
			"Delete with IfVersion of "+f.words+" returns ErrInvalidVersion before any I/O and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				v := f.make(t)
				was := t.situation()
				t.wantRefused("Delete", kv.ErrInvalidVersion, func() error {
					return t.Delete(t.ctx, "key", kv.IfVersion(v))
				})
				t.wantUnchanged(was)
			}))
	}
	return append(cases,
		rule("delete/two-conditions",
			"Delete takes at most one condition. Two conditions return ErrInvalidOption before any I/O and change nothing.",
			func(t *trial) {
				v := t.put("key", "old")
				was := t.situation()
				t.wantRefused("Delete", kv.ErrInvalidOption, func() error {
					return t.Delete(t.ctx, "key", kv.IfVersion(v), kv.IfVersion(v))
				})
				t.wantRefused("Delete with a nil option", kv.ErrInvalidOption, func() error {
					return t.Delete(t.ctx, "key", nil)
				})
				t.wantUnchanged(was)
			}),
		rule("delete/twice",
			"The second of two unconditional deletes is not an error. The second of two deletes with the same version returns ErrConditionFailed.",
			func(t *trial) {
				t.put("key", "value")
				t.delete("key")
				if err := t.Delete(t.ctx, "key"); err != nil {
					t.Errorf("the second Delete: %v", err)
				}
				v := t.put("key", "value")
				t.delete("key", kv.IfVersion(v))
				t.wantError("the second Delete with IfVersion", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
			}),
		rule("delete/if-version/response-lost",
			"If the response to a conditional delete is lost and the retry finds that the condition fails, the error is ErrIndeterminate: a delete leaves no trace of who made it.",
			func(t *trial) {
				v := t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(nil)))
				t.wantError("Delete", lost.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrIndeterminate)
				t.wantAbsent("key")
			}),
		rule("delete/none/response-lost",
			"If the response to an unconditional delete is lost, the retry applies it again, and it succeeds.",
			func(t *trial) {
				t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(nil)))
				if err := lost.Delete(t.ctx, "key"); err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
			}),
	)
}

package localkv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// identity is what a store has open, to notice when something else takes its place.
type identity struct {
	path  string
	files map[string]os.FileInfo // by the suffixes of their paths

	opened time.Time
	looked atomic.Int64 // when it was last as it should be, in nanoseconds after opened
}

// lookEvery is the time between two looks at the identity of the files. A look costs some
// microseconds.
const lookEvery = 10 * time.Millisecond

// identify returns the identity of the files of a store that was just opened. Before
// that there was a file with before.
func identify(path string, before os.FileInfo) (*identity, error) {
	id := &identity{path: path, files: map[string]os.FileInfo{"": before}, opened: time.Now()}
	for _, suffix := range []string{logSuffix, sharedSuffix} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			return nil, classifyFile(err)
		}
		id.files[suffix] = info
	}
	return id, id.check()
}

// check makes sure that the files at the store's path are those which it has open. What
// is written to others no process will ever find.
func (id *identity) check() error {
	if runtime.GOOS == "windows" { // where nobody can remove or replace an open file
		return nil
	}
	for suffix, info := range id.files {
		now, err := os.Stat(id.path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classifyFile(err)
		}
		if err != nil || !os.SameFile(info, now) {
			return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("%q was removed, moved or replaced while the store was open: close the store, see to it that the right file is there, and open it again", id.path+suffix)}
		}
	}
	return nil
}

// look is check, from time to time.
func (id *identity) look() error {
	now := int64(time.Since(id.opened))
	if now-id.looked.Load() < int64(lookEvery) {
		return nil
	}
	err := id.check()
	if err == nil {
		id.looked.Store(now)
	}
	return err
}

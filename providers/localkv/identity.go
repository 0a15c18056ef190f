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

// identity is the set of files that a store has open. It notices when a different file takes
// the place of one of them.
type identity struct {
	path  string
	files map[string]os.FileInfo // by the suffix of the path

	opened time.Time
	looked atomic.Int64 // time of the last good check, in nanoseconds after opened
}

// lookEvery is the time between two checks of the files. A check takes some microseconds.
const lookEvery = 10 * time.Millisecond

// identify returns the identity of the files of a store that was just opened. The
// argument before describes the file as it was just before the store opened it.
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

// check returns an error unless the files at the store's path are the files that the store
// has open. If other files are there, a process that opens the path does not find the store's
// writes.
func (id *identity) check() error {
	if runtime.GOOS == "windows" { // on Windows nobody can remove or replace an open file
		return nil
	}
	for suffix, info := range id.files {
		now, err := os.Stat(id.path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classifyFile(err)
		}
		if err != nil || !os.SameFile(info, now) {
			return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("%q was removed, moved or replaced while the store was open: close the store, put the right file there, and open it again", id.path+suffix)}
		}
	}
	return nil
}

// look calls check if the last good check was at least lookEvery ago.
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

package certmagic

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// Storage is a certmagic.Storage. It is safe for concurrent use.
type Storage struct {
	files *kv.Store
	locks locks
}

// New returns a storage in a store. The keys of files begin with "file:", the keys of locks with
// "lock:". The options configure the leases that serve as locks, and may be nil.
func New(store *kv.Store, options *lease.Options) (*Storage, error) {
	files, err := store.Namespace("file:")
	if err != nil {
		return nil, err
	}
	records, err := store.Namespace("lock:")
	if err != nil {
		return nil, err
	}
	leases, err := lease.New(records, options)
	if err != nil {
		return nil, err
	}
	return &Storage{files, locks{leases: leases, held: make(map[string][]*lock)}}, nil
}

// Store stores a file.
func (s *Storage) Store(ctx context.Context, name string, contents []byte) error {
	_, err := s.files.Put(ctx, kv.EscapeKey(name), encode(file{time.Now(), contents}))
	return err
}

// Load returns the contents of a file. If there is no such file, the error matches
// fs.ErrNotExist.
func (s *Storage) Load(ctx context.Context, name string) ([]byte, error) {
	f, err := s.load(ctx, "load", name)
	return f.contents, err
}

func (s *Storage) load(ctx context.Context, op, name string) (file, error) {
	entry, err := s.files.Get(ctx, kv.EscapeKey(name))
	switch {
	case absent(err):
		return file{}, notExist(op, name)
	case err != nil:
		return file{}, err
	}
	f, err := decode(entry.Value)
	if err != nil {
		return file{}, &kv.Error{Op: op, Provider: s.files.Info().Name, Key: entry.Key, Kind: kv.ErrIncompatible, Err: err}
	}
	return f, nil
}

// Delete removes the file with this name, and all files below the directory with this name. It is
// not an error if there are none. For the empty name, which would mean all files, Delete returns
// [kv.ErrInvalidKey].
func (s *Storage) Delete(ctx context.Context, name string) error {
	if name == "" {
		return &kv.Error{Op: "delete", Provider: s.files.Info().Name, Kind: kv.ErrInvalidKey, Err: errors.New("the name is empty; want a file or a directory")}
	}
	if err := s.files.Delete(ctx, kv.EscapeKey(name)); err != nil && !absent(err) {
		return err
	}
	if _, err := s.files.DeletePrefix(ctx, kv.EscapeKey(below(name))); err != nil && !absent(err) {
		return err
	}
	return nil
}

// Exists reports whether there is a file or a directory. If the store fails, it returns false.
func (s *Storage) Exists(ctx context.Context, name string) bool {
	exists, err := s.files.Exists(ctx, kv.EscapeKey(name))
	if !exists && (err == nil || absent(err)) { // the empty name is no key, but the root
		exists, err = s.isDirectory(ctx, name)
	}
	return err == nil && exists
}

// Stat describes a file or a directory. For a directory, only the name is set. If there is neither,
// the error matches fs.ErrNotExist.
func (s *Storage) Stat(ctx context.Context, name string) (certmagic.KeyInfo, error) {
	f, err := s.load(ctx, "stat", name)
	if err == nil {
		return certmagic.KeyInfo{Key: name, Modified: f.modified, Size: int64(len(f.contents)), IsTerminal: true}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		directory, failed := s.isDirectory(ctx, name)
		if directory || failed != nil {
			return certmagic.KeyInfo{Key: name}, failed
		}
	}
	return certmagic.KeyInfo{}, err
}

func (s *Storage) isDirectory(ctx context.Context, name string) (bool, error) {
	for _, err := range s.files.Scan(ctx, kv.EscapeKey(below(name)), kv.KeysOnly(), kv.Limit(1)) {
		if absent(err) {
			break
		}
		return err == nil, err
	}
	return false, nil
}

// List returns the names of the files and directories in a directory. If recursive is set, it also
// returns the names in all directories below. The empty path is the root. If there are no names,
// the error matches fs.ErrNotExist.
func (s *Storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	prefix := below(strings.TrimSuffix(path, "/"))
	var names []string
	listed := make(map[string]bool)
	list := func(name string) {
		if !listed[name] {
			listed[name] = true
			names = append(names, name)
		}
	}
	for entry, err := range s.files.Scan(ctx, kv.EscapeKey(prefix), kv.KeysOnly()) {
		if absent(err) {
			break
		} else if err != nil {
			return nil, err
		}
		name, err := kv.UnescapeKey(entry.Key)
		if err != nil {
			return nil, err
		}
		for i := len(prefix); i < len(name); i++ {
			if name[i] == '/' { // a directory on the way to the file
				list(name[:i])
				if !recursive {
					break
				}
			}
		}
		if recursive || !strings.Contains(name[len(prefix):], "/") {
			list(name)
		}
	}
	if len(names) == 0 {
		return nil, notExist("list", path)
	}
	return names, nil
}

// Lock waits until it has the lock of that name, or until ctx ends.
func (s *Storage) Lock(ctx context.Context, name string) error {
	return s.locks.lock(ctx, name, s.locks.leases.Acquire)
}

// TryLock is Lock without waiting. It reports whether it acquired the lock.
func (s *Storage) TryLock(ctx context.Context, name string) (bool, error) {
	err := s.locks.lock(ctx, name, s.locks.leases.TryAcquire)
	if errors.Is(err, lease.ErrHeld) {
		return false, nil
	}
	return err == nil, err
}

// Unlock releases a lock. If Unlock fails, it may be called again. Even without a second call, the
// lock is free after the TTL of its lease. An error that matches lease.ErrLost means that the lock
// was lost earlier.
func (s *Storage) Unlock(ctx context.Context, name string) error { return s.locks.unlock(ctx, name) }

// String names the storage in the logs of certmagic.
func (s *Storage) String() string { return "skykv:" + s.files.Info().Name }

// The function below returns the prefix of the names of all files in a directory and its
// subdirectories. For "" it returns the empty prefix.
func below(directory string) string {
	if directory == "" {
		return ""
	}
	return strings.TrimSuffix(directory, "/") + "/"
}

// absent reports whether an error says that there is nothing under a name. That includes names
// that are too long for a key.
func absent(err error) bool {
	return errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrInvalidKey)
}

func notExist(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

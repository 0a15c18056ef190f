package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/skykv/skykv/cmd/skykv/command/internal/transfer"
)

// newFile is an output file of a command. Until it is complete, its content is in a file
// with the name that [partial] returns. Symbolic links to files are never followed. An existing
// file is replaced only if the user asked for that. The new file then has the mode of the old
// file.
type newFile struct {
	path    string
	mode    fs.FileMode
	exists  bool // there is a file at path
	begun   bool // there is a file at partial(path)
	special bool // a pipe or a device, which is written directly
}

// partial returns the name that the file at path has while it is incomplete.
func partial(path string) string { return path + ".partial" }

// findNewFile examines the file at path. If no file exists there, the new file will get the
// given mode.
func findNewFile(path string, mode fs.FileMode) (newFile, error) {
	f := newFile{path: path, mode: mode}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return f, err
	case info.Mode()&fs.ModeSymlink != 0: // such as /dev/stdout
		if info, err = os.Stat(path); err != nil || info.Mode().IsRegular() {
			return f, usagef("%s is a symbolic link; name the file itself", path)
		}
		fallthrough
	default:
		if info.IsDir() {
			return f, usagef("%s is a folder; want the name of a file", path)
		}
		f.exists, f.special = true, !info.Mode().IsRegular()
		if !f.special {
			f.mode = info.Mode().Perm()
		}
	}
	_, err = os.Lstat(partial(path))
	f.begun = !f.special && !errors.Is(err, fs.ErrNotExist)
	return f, nil
}

// errExists returns an error if there is a file that must not be replaced without --force.
func (f newFile) errExists() error {
	switch {
	case f.special:
		return nil
	case f.exists:
		return usagef("%s exists; replace it with --force, or name another file", f.path)
	case f.begun:
		return usagef("%s exists, perhaps from a run that was killed; replace it with --force, or name another file", partial(f.path))
	}
	return nil
}

// create creates the incomplete file. It first removes an incomplete file that an earlier run
// left. If f.special is set, create opens the file at f.path instead.
func (f newFile) create() (*os.File, error) {
	if f.special {
		return os.OpenFile(f.path, os.O_WRONLY, 0)
	}
	if f.begun {
		if err := os.Remove(partial(f.path)); err != nil {
			return nil, err
		}
	}
	file, err := os.OpenFile(partial(f.path), os.O_RDWR|os.O_CREATE|os.O_EXCL, f.mode|0o600)
	if err == nil {
		transfer.SyncFolder(f.path) // a checkpoint may be in another folder: after a power cut it needs this file
	}
	return file, err
}

// reopen opens the incomplete file, checks its content up to mark, and cuts off the rest.
func (f newFile) reopen(mark transfer.Mark) (_ *os.File, err error) {
	found, err := os.Lstat(partial(f.path))
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(partial(f.path), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || !os.SameFile(found, info):
		return nil, fmt.Errorf("%s is not a regular file; remove it and the checkpoint to start over", partial(f.path))
	}
	if err := mark.Check(file); err != nil {
		return nil, fmt.Errorf("%s does not match the checkpoint: %w; delete both to start over", partial(f.path), err)
	}
	if err := file.Truncate(mark.Length); err != nil {
		return nil, err
	}
	_, err = file.Seek(mark.Length, io.SeekStart)
	return file, err
}

// finish closes a complete file and renames it to its final name. It replaces an existing
// file only if replace is set.
func (f newFile) finish(file *os.File, replace bool) (err error) {
	if !f.special {
		if f.exists {
			err = file.Chmod(f.mode)
		}
		if err == nil {
			err = file.Sync()
		}
	}
	if err = errors.Join(err, file.Close()); err != nil || f.special {
		return err
	}
	if !replace {
		err = publish(partial(f.path), f.path)
	} else {
		err = os.Rename(partial(f.path), f.path)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another program created %s meanwhile; the new content is in %s", f.path, partial(f.path))
	}
	if err != nil {
		return err
	}
	transfer.SyncFolder(f.path)
	return nil
}

// publish renames a file, and fails if a file has the new name already. On a file system
// without hard links, it may replace a file that another program creates at the same moment.
func publish(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// discard closes and removes an incomplete file. It only closes a pipe or a device.
func (f newFile) discard(file *os.File) error {
	err := file.Close()
	if f.special {
		return err
	}
	return errors.Join(err, os.Remove(partial(f.path)))
}

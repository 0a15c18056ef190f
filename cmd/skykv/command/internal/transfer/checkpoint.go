package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"
)

// Job identifies the transfer that a checkpoint belongs to. A transfer with a different Job
// cannot continue from the checkpoint.
type Job struct {
	Command     string `json:"command"`
	From        string `json:"from"`
	To          string `json:"to"`
	Prefix      string `json:"prefix"`
	IfNotExists bool   `json:"ifNotExists"`
	Size        int64  `json:"size,omitempty"`     // size of an input file
	Modified    int64  `json:"modified,omitempty"` // time of its last change, in ns since 1970
}

// encodable returns job with texts that are valid UTF-8. The name of a file may have any bytes, but
// encoding/json replaces bytes that are not UTF-8.
func (job Job) encodable() Job {
	for _, text := range []*string{&job.From, &job.To} {
		if !utf8.ValidString(*text) {
			*text = strconv.Quote(*text)
		}
	}
	return job
}

// checkpointFormat is the version of the file's format.
const checkpointFormat = 1

// checkpoint is the file's content. Sum is the CRC-32 of the bytes of Body.
type checkpoint struct {
	Format int             `json:"format"`
	Sum    uint32          `json:"sum"`
	Body   json.RawMessage `json:"body"`
}

type checkpointBody struct {
	Job   Job   `json:"job"`
	State State `json:"state"`
}

// ReadCheckpoint reads the state of job from the file at path. If there is no file, it
// returns the zero State and false. It returns an error if the file is damaged or a link,
// or has a different format, or belongs to a different job.
func ReadCheckpoint(path string, job Job) (State, bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return State{}, false, fmt.Errorf("the checkpoint %s is not a regular file; want a file that is not a link", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return State{}, false, fmt.Errorf("the checkpoint cannot be read: %w", err)
	}
	var c checkpoint
	var body checkpointBody
	if json.Unmarshal(text, &c) != nil {
		return State{}, false, damagedCheckpoint(path)
	}
	if c.Format != checkpointFormat {
		return State{}, false, fmt.Errorf("the checkpoint %s has format %d; this version of skykv knows format %d", path, c.Format, checkpointFormat)
	}
	if crc32.ChecksumIEEE(c.Body) != c.Sum || json.Unmarshal(c.Body, &body) != nil {
		return State{}, false, damagedCheckpoint(path)
	}
	job = job.encodable()
	for _, field := range []struct {
		name        string
		found, want any
	}{
		{"command", body.Job.Command, job.Command},
		{"source", body.Job.From, job.From},
		{"destination", body.Job.To, job.To},
		{"prefix", body.Job.Prefix, job.Prefix},
		{"--if-not-exists", body.Job.IfNotExists, job.IfNotExists},
		{"input's size", body.Job.Size, job.Size},
		{"input's time of change", body.Job.Modified, job.Modified},
	} {
		if field.found != field.want {
			return State{}, false, fmt.Errorf("the checkpoint %s is of another run: its %s is %#v, this run's %#v; name another file, or delete it to start over",
				path, field.name, field.found, field.want)
		}
	}
	return body.State, true, nil
}

func damagedCheckpoint(path string) error {
	return fmt.Errorf("the checkpoint %s is damaged or not a checkpoint; if it is one, delete it to start over", path)
}

// NextCheckpoint returns the name of the file that WriteCheckpoint writes and then renames
// to path. The name is always the same, so killed runs leave at most one such file.
func NextCheckpoint(path string) string { return path + ".new" }

// WriteCheckpoint replaces the file at path in one step: after any interruption, the file
// has either the old state or the new one. The new file has the mode of the old one.
func WriteCheckpoint(path string, job Job, state State) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the checkpoint cannot be written: %w", err)
		}
	}()
	body, err := json.Marshal(checkpointBody{job.encodable(), state})
	if err != nil {
		return err
	}
	text, err := json.Marshal(checkpoint{checkpointFormat, crc32.ChecksumIEEE(body), body})
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Lstat(path); err == nil {
		mode = info.Mode().Perm()
	}
	next := NextCheckpoint(path)
	f, err := createNext(next)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next) // its error matters less than err
		return err
	}
	SyncFolder(path)
	return nil
}

// createNext creates the file at the path next. It replaces an existing file only if that file
// is empty, begins like a checkpoint or has only zero bytes. A killed run or a power cut leaves such
// files.
func createNext(next string) (*os.File, error) {
	create := func() (*os.File, error) { return os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) }
	f, err := create()
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	inTheWay := fmt.Errorf("%s exists, and is not skykv's; remove it, or name another checkpoint", next)
	if info, err := os.Lstat(next); err != nil || !info.Mode().IsRegular() {
		return nil, inTheWay
	}
	text, err := os.ReadFile(next)
	begin := fmt.Appendf(nil, `{"format":%d,"sum":`, checkpointFormat)
	if err != nil || !bytes.HasPrefix(text, begin) && !bytes.HasPrefix(begin, text) && len(bytes.Trim(text, "\x00")) > 0 {
		return nil, inTheWay
	}
	if err := os.Remove(next); err != nil {
		return nil, err
	}
	return create()
}

// SyncFolder makes the creation, renaming or removal of the file at path durable, if the
// system supports that. If it does not, a power cut may bring back an older state. To continue
// from an older state does no harm.
func SyncFolder(path string) {
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
}

package localkv

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// disk stands between SQLite and the files of one folder, by SQLite's VFS interface. It
// records what is done to them, so that a power cut can be played at any moment, and fails
// operations when it is told to. https://www.sqlite.org/vfs.html
type disk struct {
	mu  sync.Mutex
	ops []op

	// fault, when set, is asked before every operation, and fails it with a code of SQLite's
	// unless it returns lib.SQLITE_OK.
	fault func(op) int32

	// lies is set for files whose syncs return before they have done anything.
	lies func(file string) bool
}

type opKind string

const (
	opRead     opKind = "read"
	opWrite    opKind = "write"
	opTruncate opKind = "truncate"
	opSync     opKind = "sync"
	opDelete   opKind = "delete"
	opMark     opKind = "mark" // not of the disk's: the test did something
)

// op is an operation on a file, named by its path within the folder.
type op struct {
	kind   opKind
	file   string
	offset int64 // where it writes; how long the file gets
	data   []byte
	failed bool
	mark   int
}

// do records an operation, and returns the code to fail it with.
func (d *disk) do(o op) int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	code := int32(lib.SQLITE_OK)
	if d.fault != nil {
		code = d.fault(o)
	}
	o.failed = code != lib.SQLITE_OK
	if o.kind == opWrite && o.failed {
		o.data = o.data[:len(o.data)/2]
	}
	if o.kind == opSync && d.lies != nil && d.lies(o.file) || o.kind == opRead {
		return code
	}
	d.ops = append(d.ops, o)
	return code
}

// mark records what the test did.
func (d *disk) mark(n int) { d.do(op{kind: opMark, mark: n}) }

// survival is what a power cut leaves of writes that were not synced.
type survival string

const (
	nothing survival = "nothing"    // of what was not synced
	sectors survival = "any sector" // each or none of them, so that writes are torn and out of order
	all     survival = "everything" // as when only the process is killed
)

const sectorSize = 512

// after returns the files that there are when the power fails after n operations. A sync that
// failed makes nothing durable, and neither does a later one for what was written before: so
// it is on Linux, where the pages then count as clean. https://lwn.net/Articles/752063/
func (d *disk) after(n int, survives survival, rng *rand.Rand) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	type file struct {
		writes []op
		failed []bool // by write: whether a sync gave it up
		synced int    // so many of the writes are durable, but for those
		named  bool   // once synced, it has a name
	}
	files := make(map[string]*file)
	for _, o := range d.ops[:n] {
		f := files[o.file]
		if f == nil && o.kind != opMark {
			f = new(file)
			files[o.file] = f
		}
		switch o.kind {
		case opDelete:
			if !o.failed {
				delete(files, o.file)
			}
		case opSync:
			for i := f.synced; i < len(f.writes); i++ {
				f.failed[i] = o.failed
			}
			f.synced, f.named = len(f.writes), f.named || !o.failed
		case opWrite, opTruncate:
			f.writes, f.failed = append(f.writes, o), append(f.failed, false)
		}
	}
	images := make(map[string][]byte)
	for name, f := range files {
		var content []byte
		for i, w := range f.writes {
			switch {
			case i < f.synced && !f.failed[i] || survives == all:
				content = w.apply(content, nil)
			case survives == sectors:
				content = w.apply(content, rng)
			}
		}
		if f.named || survives != nothing {
			images[name] = content
		}
	}
	return images
}

// apply changes the content of a file. With a source of chance, each sector of a write, or all
// of a truncation, may be left out.
func (o op) apply(content []byte, rng *rand.Rand) []byte {
	kept := func() bool { return rng == nil || rng.IntN(2) == 0 }
	if o.kind == opTruncate {
		if !o.failed && kept() && int64(len(content)) > o.offset {
			content = content[:o.offset]
		}
		return content
	}
	for at := 0; at < len(o.data); {
		begin := o.offset + int64(at)
		n := min(len(o.data)-at, sectorSize-int(begin%sectorSize))
		if kept() {
			if end := int(begin) + n; end > len(content) {
				content = append(content, make([]byte, end-len(content))...)
			}
			copy(content[begin:], o.data[at:at+n])
		}
		at += n
	}
	return content
}

// vfs is the VFS that disks are made of: SQLite's own, but for the files in their folders.
var vfs struct {
	once sync.Once
	own  uintptr // SQLite's

	mu      sync.Mutex
	disks   map[string]*disk      // by folder
	files   map[uintptr]*diskFile // by the sqlite3_file
	methods map[uintptr]uintptr   // those of disks by SQLite's own
}

type diskFile struct {
	*disk
	name string
	own  *lib.Tsqlite3_io_methods
	ptr  uintptr // of own
}

// memory is what is at an address that is not Go's.
func memory[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is a function of SQLite's by its address, and address the other way round.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

func address[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// newDisk returns a disk with the files of a new folder. Their paths are without links.
func newDisk(t testing.TB) (*disk, string) {
	t.Helper()
	vfs.once.Do(func() {
		tls := libc.NewTLS()
		lib.Xsqlite3_initialize(tls)
		vfs.own = lib.Xsqlite3_vfs_find(tls, 0)
		vfs.disks, vfs.files, vfs.methods = make(map[string]*disk), make(map[uintptr]*diskFile), make(map[uintptr]uintptr)
		ours := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_vfs{})))
		*memory[lib.Tsqlite3_vfs](ours) = *memory[lib.Tsqlite3_vfs](vfs.own)
		name, err := libc.CString("disk")
		if err != nil {
			t.Fatal(err)
		}
		memory[lib.Tsqlite3_vfs](ours).FzName = name
		memory[lib.Tsqlite3_vfs](ours).FxOpen = address(diskOpen)
		memory[lib.Tsqlite3_vfs](ours).FxDelete = address(diskDelete)
		if code := lib.Xsqlite3_vfs_register(tls, ours, 1); code != lib.SQLITE_OK {
			t.Fatalf("sqlite3_vfs_register: code %d", code)
		}
	})
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := new(disk)
	vfs.mu.Lock()
	vfs.disks[folder] = d
	vfs.mu.Unlock()
	t.Cleanup(func() {
		vfs.mu.Lock()
		delete(vfs.disks, folder)
		vfs.mu.Unlock()
	})
	return d, folder
}

func diskOf(path uintptr) (*disk, string) {
	if path == 0 {
		return nil, ""
	}
	folder, name := filepath.Split(libc.GoString(path))
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	return vfs.disks[filepath.Clean(folder)], name
}

func fileAt(file uintptr) *diskFile {
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	return vfs.files[file]
}

func diskOpen(tls *libc.TLS, _, path, file uintptr, flags int32, outFlags uintptr) int32 {
	open := function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](memory[lib.Tsqlite3_vfs](vfs.own).FxOpen)
	code := open(tls, vfs.own, path, file, flags, outFlags)
	d, name := diskOf(path)
	if d == nil || code != lib.SQLITE_OK {
		return code
	}
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	own := memory[lib.Tsqlite3_file](file).FpMethods
	if vfs.methods[own] == 0 {
		ours := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
		m := memory[lib.Tsqlite3_io_methods](ours)
		*m = *memory[lib.Tsqlite3_io_methods](own)
		m.FxClose, m.FxRead, m.FxWrite = address(diskClose), address(diskRead), address(diskWrite)
		m.FxTruncate, m.FxSync = address(diskTruncate), address(diskSync)
		vfs.methods[own] = ours
	}
	vfs.files[file] = &diskFile{d, name, memory[lib.Tsqlite3_io_methods](own), own}
	memory[lib.Tsqlite3_file](file).FpMethods = vfs.methods[own]
	return code
}

func diskDelete(tls *libc.TLS, _, path uintptr, syncFolder int32) int32 {
	if d, name := diskOf(path); d != nil {
		if code := d.do(op{kind: opDelete, file: name}); code != lib.SQLITE_OK {
			return code
		}
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32) int32](memory[lib.Tsqlite3_vfs](vfs.own).FxDelete)(tls, vfs.own, path, syncFolder)
}

func diskClose(tls *libc.TLS, file uintptr) int32 {
	f := fileAt(file)
	vfs.mu.Lock()
	delete(vfs.files, file)
	vfs.mu.Unlock()
	memory[lib.Tsqlite3_file](file).FpMethods = f.ptr
	return function[func(*libc.TLS, uintptr) int32](f.own.FxClose)(tls, file)
}

func diskRead(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	f := fileAt(file)
	if code := f.do(op{kind: opRead, file: f.name}); code != lib.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.own.FxRead)(tls, file, buffer, n, offset)
}

func diskWrite(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	f := fileAt(file)
	write := function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.own.FxWrite)
	code := f.do(op{kind: opWrite, file: f.name, offset: offset, data: bytes.Clone(libc.GoBytes(buffer, int(n)))}) // which is SQLite's memory
	if code != lib.SQLITE_OK {
		write(tls, file, buffer, n/2, offset) // half of it
		return code
	}
	return write(tls, file, buffer, n, offset)
}

func diskTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := fileAt(file)
	if code := f.do(op{kind: opTruncate, file: f.name, offset: size}); code != lib.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, int64) int32](f.own.FxTruncate)(tls, file, size)
}

func diskSync(tls *libc.TLS, file uintptr, _ int32) int32 {
	f := fileAt(file)
	return f.do(op{kind: opSync, file: f.name}) // which need not reach the real disk
}

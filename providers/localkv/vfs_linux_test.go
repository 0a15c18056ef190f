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

// disk stands between SQLite and the files of one folder, by means of SQLite's VFS
// interface. It records the operations that change these files, so that a test can simulate a power
// cut at any moment. It can also make operations fail. https://www.sqlite.org/vfs.html
type disk struct {
	mu  sync.Mutex
	ops []op

	// fault, if set, is called before every operation. It returns the SQLite code with which
	// the operation fails, or lib.SQLITE_OK.
	fault func(op) int32

	// lies, if set, reports whether syncs of a file return without doing anything.
	lies func(file string) bool
}

type opKind string

const (
	opRead     opKind = "read"
	opWrite    opKind = "write"
	opTruncate opKind = "truncate"
	opSync     opKind = "sync"
	opDelete   opKind = "delete"
	opMark     opKind = "mark" // not an operation of the disk: a mark of the test
)

// op is an operation on a file. The file is named by its path within the folder.
type op struct {
	kind   opKind
	file   string
	offset int64 // offset of a write, or new length in a truncation
	data   []byte
	failed bool
	mark   int
}

// do records an operation, unless it is a read, or a sync that does nothing. It returns the
// SQLite code with which the operation fails, or lib.SQLITE_OK.
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

// mark adds a mark of the test to the recorded operations.
func (d *disk) mark(n int) { d.do(op{kind: opMark, mark: n}) }

// survival says which unsynced writes survive a power cut.
type survival string

const (
	nothing survival = "nothing"    // no unsynced write
	sectors survival = "any sector" // any of the sectors of unsynced writes, so that writes are torn and out of order
	all     survival = "everything" // all of them, as if only the process were killed
)

const sectorSize = 512

// The method after returns the files that a power cut leaves after n operations. A sync that
// failed makes nothing durable, and a later sync does not make the writes before the failed sync
// durable either. Linux behaves in this way: after a failed sync the pages count as clean.
// https://lwn.net/Articles/752063/
func (d *disk) after(n int, survives survival, rng *rand.Rand) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	type file struct {
		writes []op
		failed []bool // for each write: whether its sync failed
		synced int    // number of writes before the last sync; they are durable unless their sync failed
		named  bool   // whether a sync has made the file's name durable
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

// apply applies an operation to the content of a file. With an rng, each sector of a write,
// or the whole truncation, may be left out.
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

// vfs is the VFS that disks share. It is SQLite's own, except for the files in the disks'
// folders.
var vfs struct {
	once sync.Once
	own  uintptr // SQLite's own VFS

	mu      sync.Mutex
	disks   map[string]*disk      // by folder
	files   map[uintptr]*diskFile // by sqlite3_file
	methods map[uintptr]uintptr   // methods for files of disks, by the address of SQLite's own methods
}

type diskFile struct {
	*disk
	name string
	own  *lib.Tsqlite3_io_methods
	ptr  uintptr // pointer to the field own
}

// memory returns a pointer to the value at an address outside Go's memory.
func memory[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function converts an address to a function of SQLite. address does the reverse.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

func address[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// newDisk returns a disk and its new, empty folder. The folder's path has no symbolic links.
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
	code := f.do(op{kind: opWrite, file: f.name, offset: offset, data: bytes.Clone(libc.GoBytes(buffer, int(n)))}) // the buffer is SQLite's memory
	if code != lib.SQLITE_OK {
		write(tls, file, buffer, n/2, offset) // a write that fails still writes half of its data
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
	return f.do(op{kind: opSync, file: f.name}) // the real disk need not sync
}

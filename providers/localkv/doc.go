// Package localkv keeps entries in a local file that survives crashes and that
// several processes may use at once: a [kv.Store] over SQLite, without cgo.
//
// # The file
//
// It is an SQLite 3 database that any SQLite tool opens, with one table:
//
//	CREATE TABLE kv (
//	  k TEXT NOT NULL PRIMARY KEY, -- key, in byte order
//	  x INTEGER,                   -- expiry in ms since 1970, or NULL
//	  t TEXT NOT NULL,             -- token of the write, which is the entry's version
//	  v BLOB NOT NULL              -- value
//	);
//	CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL;
//
// The header names skykv (PRAGMA application_id is 0x536b4b56, "SkKV") and the
// format (PRAGMA user_version is 1). A file that is anything else, empty ones
// excepted, is [kv.ErrIncompatible] and left as it is, its log included. While
// the file is open, and after a crash, FILE-wal, the log of the latest writes, and
// FILE-shm belong to it: keep the three together, and copy an open store with
// SQLite's own ".backup" or "VACUUM INTO" only.
//
// Reading the file with SQLite is welcome at any time (the sqlite3 shell:
// SELECT k, CAST(v AS TEXT) FROM kv), and so is writing, as long as every change
// of a row gives it a new token of text. Rows that skykv cannot have written (a
// value that is no blob, an empty token, a key that is not legal) are
// [kv.ErrIncompatible] to gets, scans, batches and failed conditions, under their
// key. A Put or Delete without a condition replaces or removes them.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL (and fullfsync, for macOS). When a
// Put, Delete or batch returns without an error, its writes are on the disk, as
// far as the disk tells the truth. Killing the process at any moment, or losing
// power, neither loses them nor tears a value; the next process to open the file
// finds every acknowledged write, and each of the others as a whole or not at all.
//
// Writes that are made at the same time in one process are committed together,
// at the price of one sync. A batch (PutMany, DeleteMany) is a transaction for
// every 128 writes or 256 KiB; when one fails, those before it stay and the rest
// is not tried.
//
// An error leaves a write unknown, [kv.ErrIndeterminate], in one case alone: the
// disk failed while the transaction was committed. No reader sees the write then,
// and the next one replaces what is left of it in the log, but if every process
// ends before that, it may come back. A disk that is full is not such a case: that
// error, as all others, means that nothing was written.
//
// # Several processes
//
// Any number of processes may open the file, and a process may open it several
// times. A read sees every write that was acknowledged before it began, by
// whichever process. Reads never wait for writes, nor writes for reads.
//
// One process writes at a time. The others try twice every millisecond, and a
// process that writes without a break lets them in every ten; in trials with two
// and three processes writing at full speed, each got its share and the longest
// wait was 53 ms. A wait ends with the context, at once, or after a minute with
// [kv.ErrUnavailable]; nothing was written then. Once a transaction
// has begun the call waits for its end, which the disk decides, rather than leave
// its fate open.
//
// # Expiry
//
// Expired entries are absent at once, whatever the file still holds. The rows are
// removed an hour later in passing, by the store's clock: each write also removes
// a few of those that expired first. Their space is used again; the file does not
// shrink by itself (VACUUM does that).
//
// # Costs
//
// A Get reads one row through an index; the value is copied once. Its speed is
// that of SQLite, and so is that of a Put: one sync of the disk. Exists and
// KeysOnly do not read the pages of large values. A scan reads pages of up to 640
// entries or 1 MiB, each in a transaction of its own that is over before the
// loop's body runs, so that a slow loop holds nothing up. Every reading connection
// ([Options].Readers) caches up to 2 MiB. The log starts over when it has some 8 MiB;
// where somebody is always reading, writes wait some 0.1 s for that now and then, and
// where somebody reads for long, such as an open transaction of the sqlite3 shell, it
// gets longer.
//
// # Permissions
//
// The file and its directory must be readable and writable, since reading takes
// locks in FILE-shm: a read-only file is [kv.ErrPermission] when it is opened. New
// files are made with mode 0644 less the umask; make the file yourself, empty,
// for another mode. The directory must exist.
//
// # Caveats
//
//   - The disk must be local. Network file systems (NFS, SMB) lack the shared
//     memory and often the locks that SQLite needs: processes on different hosts
//     would destroy the file. The same holds for folders that some service
//     synchronises.
//   - Do not move, replace or delete the file while it is open, and do not reach it
//     through hard links. Symbolic links are followed.
//   - On Unix a program must not open and close the file (os.Open, os.ReadFile)
//     while it has it open as a store: closing drops the process's locks on it.
//   - Scans are no snapshot, and there are no transactions over several keys, as
//     with every store.
package localkv

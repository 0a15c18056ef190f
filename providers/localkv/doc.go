// Package localkv keeps entries in a local file that survives crashes and that several
// processes can use at once: a [kv.Store] over SQLite, without cgo.
//
// # The file
//
// The file is an SQLite 3 database with one table:
//
//	CREATE TABLE kv (
//	  k TEXT NOT NULL PRIMARY KEY, -- key, in byte order
//	  x INTEGER,                   -- expiry in ms since 1970, or NULL
//	  t TEXT NOT NULL,             -- token of the write, which is the entry's version
//	  p TEXT,                      -- predecessors: tokens of earlier writes, or NULL
//	  c INTEGER NOT NULL,          -- checksum of k, x, t and p
//	  d INTEGER NOT NULL,          -- checksum of k and v
//	  v BLOB NOT NULL              -- value
//	);
//	CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL;
//
// The header names skykv (PRAGMA application_id is 0x536b4b56, "SkKV") and the format
// (PRAGMA user_version is 2). Any other file that is not empty is [kv.ErrIncompatible].
// So is a file of format 1, and a file with other tables, indexes, triggers or views.
// skykv does not change such a file or its log. Each transaction that writes first
// checks whether the schema has changed, so a trigger that another program adds to an
// open store never runs.
//
// While the file is open, and after a crash, two more files belong to it: FILE-wal, the
// log of the latest writes, and FILE-shm. Keep the three together. Copy an open store
// only with [Backup] or SQLite's own ".backup". If the file is gone or empty and
// FILE-wal has writes, opening it is ErrIncompatible: SQLite would delete them.
//
// Any SQLite tool may read the file at any time (in the sqlite3 shell: SELECT k, CAST(v
// AS TEXT) FROM kv). No other program may write to it: its rows would not match the
// checksums.
//
// The file must have one name. A second hard link, or a mount of only the file into a
// container, would have a separate log, and writes would be lost. So such a file is
// ErrIncompatible. Mount the folder instead. If the file, its log or FILE-shm is
// removed, moved or replaced while it is open, calls return [kv.ErrUnavailable] within
// 10 ms, until it is back. Writes that were acknowledged within those 10 ms are lost
// with the file.
//
// # Checksums
//
// Every read checks what it reads, so that a bit that flipped on the disk does not
// become a wrong value, version or expiry. The checksums are CRC-32C (Castagnoli), as
// numbers from 0 to 4294967295:
//
//   - c covers the key, a zero byte, the expiry as 8 bytes with the highest first
//     (0 for none), the token, a zero byte and the predecessors.
//   - d covers the key, a zero byte and the value. Reads without values, such as
//     Exists and KeysOnly, do not check it.
//
// A row that does not match is damaged: it is [kv.ErrIncompatible] under its key, for
// reads, scans, batches and conditional writes. So is a row that skykv cannot have
// written, for example with a value that is not a blob or a key that is not legal. A Put
// or Delete without a condition replaces or removes such rows. Nothing else does: a
// damaged row does not expire. Count reads no row, because SQLite counts in its indexes,
// so it counts damaged rows too.
//
// The checksums do not cover SQLite's own structures. If SQLite finds damage there, the
// call is ErrIncompatible as well. A flipped bit in the index of keys can hide a key, or
// put keys out of order, which ends a scan with [kv.ErrUnavailable]. [Inspect] reads the
// whole file and finds all of this. REINDEX repairs an index.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL (and fullfsync, for macOS). When a Put,
// Delete or batch returns without an error, its writes are on the disk, unless the disk
// reports a sync that it has not done. If the process is killed at any moment, or the
// power fails, no such write is lost and no value is torn. The next process that opens
// the file finds every acknowledged write, and each other write completely or not at
// all.
//
// Concurrent writes of one process are committed together, in one sync. A batch
// (PutMany, DeleteMany) is one transaction for every 128 writes or 256 KiB. If one
// fails, the earlier ones stay and the rest is not tried.
//
// A write is unknown, [kv.ErrIndeterminate], in only one case: the disk failed during
// the commit of its transaction. No reader sees the write then, and the next write
// replaces what is left of it in the log. But if every process ends before that, the
// write may come back. A full disk is not such a case: after its error nothing was
// written, as after all other errors.
//
// # Several processes
//
// Any number of processes may open the file, and a process may open it several times. A
// read sees every write that any process acknowledged before the read began. Reads never
// wait for writes, nor writes for reads.
//
// One process writes at a time. The others try twice every millisecond, and a process
// that writes continuously pauses for them every ten milliseconds. In trials with two
// and three processes that wrote at full speed, each made progress, and the longest wait
// was 53 ms. A wait ends with the context, or after a minute with [kv.ErrUnavailable].
// Nothing was written then. Once a transaction has begun, the call waits for its end,
// which depends on the disk, so that the result is known.
//
// # Expiry
//
// Expired entries are absent at once, whatever the file still has. Each write also
// removes a few expired rows, those with the earliest expiry first. It removes a row
// once [kv.ExpiryGrace] has passed since its expiry, by the host's clock and by the
// clocks of all stores that write in the transaction: a clock that is ahead must not
// remove other stores' entries. The space is used again. The file does not shrink by
// itself (VACUUM does that).
//
// # Costs
//
// A Get reads one row through an index and copies the value once. A Get is as fast as
// SQLite. So is a Put: one sync of the disk. Exists and KeysOnly do not read the pages
// of large values. A scan reads pages of up to 640 entries or 1 MiB, and GetMany reads
// 256 keys or 1 MiB at once. Each is a separate transaction, which ends before the
// caller sees its entries, so a slow loop holds no lock.
//
// Every reading connection ([Options].Readers) caches up to 2 MiB. The log starts over
// when it has some 8 MiB. If there is always a reader, writes sometimes wait some 0.1 s
// for that, or until their contexts end. While a read lasts long, such as an open
// transaction of the sqlite3 shell or a backup, the log grows.
//
// # Permissions
//
// The file and its directory must be readable and writable, because reading takes locks
// in FILE-shm: a read-only file is [kv.ErrPermission] when it is opened. New files have
// mode 0644 less the umask. For another mode, create the file yourself, empty. The
// directory must exist.
//
// # Caveats
//
//   - The disk must be local. Network file systems (NFS, SMB) lack the shared
//     memory and often the locks that SQLite needs: processes on different hosts
//     would destroy the file. The same holds for folders that some service
//     synchronises.
//   - Do not move, replace or delete the file while it is open. Symbolic links are
//     followed.
//   - After a crash, a log that was removed or cut off, or that is damaged in its last two
//     transactions, looks like a log that ends there: those writes are lost without an error.
//     Damage before that is ErrIncompatible when the file is opened. A mark outside the log
//     would need a sync for each transaction, which doubles the time of a durable Put.
//   - On Unix a program must not open and close the file (os.Open, os.ReadFile)
//     while it has it open as a store: closing drops the process's locks on it.
//   - Scans are no snapshot, and there are no transactions over several groups of keys.
package localkv

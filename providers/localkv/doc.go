// Package localkv keeps entries in a local file that survives crashes and that
// several processes may use at once: a [kv.Store] over SQLite, without cgo.
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
// The header names skykv (PRAGMA application_id is 0x536b4b56, "SkKV") and the
// format (PRAGMA user_version is 2). Any other file, unless it is empty, is
// [kv.ErrIncompatible], one of format 1 included, and so is a file with other tables,
// indexes, triggers or views. It is left as it is, and so is its log. Each
// transaction that writes looks for changes of the schema first, so that a trigger
// which another program adds to an open store never runs.
//
// While the file is open, and after a crash, two more files belong to it: FILE-wal,
// the log of the latest writes, and FILE-shm. Keep the three together. Copy an open
// store with [Backup] or SQLite's own ".backup" only. Where the file is gone or empty
// and FILE-wal has writes, opening it is ErrIncompatible: SQLite would delete them.
//
// Any SQLite tool may read the file at any time (in the sqlite3 shell:
// SELECT k, CAST(v AS TEXT) FROM kv). No other program may write to it: the checksums
// of what it writes would not match.
//
// The file must have one name. A second hard link, or a mount of the file alone into a
// container, would have a log of its own, and writes would be lost: such a file is
// ErrIncompatible. Mount the folder instead. When the file, its log or FILE-shm is removed,
// moved or replaced while it is open, calls are [kv.ErrUnavailable] within 10 ms, and until
// it is back. Writes that were acknowledged within those 10 ms are lost with the file.
//
// # Checksums
//
// Every read checks what it reads, so that a bit that flipped on the disk does not
// become a wrong value, version or expiry. The checksums are CRC-32C (Castagnoli), as
// numbers from 0 to 4294967295:
//
//   - c is that of the key, a zero byte, the expiry as 8 bytes with the highest first
//     (0 for none), the token, a zero byte and the predecessors.
//   - d is that of the key, a zero byte and the value. Reads without values, such as
//     Exists and KeysOnly, do not check it.
//
// A row that does not match is damaged: [kv.ErrIncompatible] under its key, for reads,
// scans, batches and conditional writes alike. So is a row that skykv cannot have
// written, such as one whose value is no blob or whose key is not legal. A Put or
// Delete without a condition replaces or removes either. Nothing else does: a damaged
// row does not expire. Count looks at no row: SQLite counts in its indexes, and damaged
// rows are counted too.
//
// The checksums do not cover SQLite's own structures. Where SQLite finds damage there,
// the calls that meet it are ErrIncompatible as well. A flipped bit in the index
// of keys can hide a key, or put keys out of order, which ends a scan with
// [kv.ErrUnavailable]. [Inspect] reads the whole file and finds all of this; REINDEX mends an
// index.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL (and fullfsync, for macOS). When a
// Put, Delete or batch returns without an error, its writes are on the disk, as
// far as the disk tells the truth. Killing the process at any moment, or losing
// power, neither loses them nor tears a value. The next process to open the file
// finds every acknowledged write, and each of the others as a whole or not at all.
//
// Writes that are made at the same time in one process are committed together,
// at the price of one sync. A batch (PutMany, DeleteMany) is a transaction for
// every 128 writes or 256 KiB. When one fails, those before it stay and the rest
// is not tried.
//
// An error leaves a write unknown, [kv.ErrIndeterminate], in one case alone: the
// disk failed while the transaction was committed. No reader sees the write then,
// and the next one replaces what is left of it in the log. But if every process
// ends before that, it may come back. A full disk is not such a case: its
// error means that nothing was written, as all others do.
//
// # Several processes
//
// Any number of processes may open the file, and a process may open it several
// times. A read sees every write that any process acknowledged before the read
// began. Reads never wait for writes, nor writes for reads.
//
// One process writes at a time. The others try twice every millisecond, and a
// process that writes without a break lets them in every ten. In trials with two
// and three processes that wrote at full speed, each got its share, and the longest
// wait was 53 ms. A wait ends at once with the context, or after a minute with
// [kv.ErrUnavailable]; nothing was written then. Once a transaction
// has begun, the call waits for its end, which the disk decides, rather than leave
// its fate open.
//
// # Expiry
//
// Expired entries are absent at once, whatever the file still holds. Writes remove the
// rows in passing, a few each, those that expired first before the others. They remove
// a row once [kv.ExpiryGrace] has passed since its expiry by the host's clock and by the
// clocks of all stores that write in the transaction: a clock that is ahead does not
// decide for the others. The space is used again. The file does not shrink by itself
// (VACUUM does that).
//
// # Costs
//
// A Get reads one row through an index and copies the value once. Its speed is
// that of SQLite, and so is that of a Put: one sync of the disk. Exists and
// KeysOnly do not read the pages of large values. A scan reads pages of up to 640
// entries or 1 MiB, and GetMany 256 keys or 1 MiB. Each is a transaction of its own
// that ends before the caller sees any of it, so that a slow loop holds nothing up.
//
// Every reading connection ([Options].Readers) caches up to 2 MiB. The log starts over
// when it has some 8 MiB. Where somebody is always reading, writes wait some 0.1 s for
// that now and then, or until their contexts end. Where somebody reads for long, such as an
// open transaction of the sqlite3 shell or a backup, the log gets longer.
//
// # Permissions
//
// The file and its directory must be readable and writable, since reading takes
// locks in FILE-shm: a read-only file is [kv.ErrPermission] when it is opened. New
// files have mode 0644 less the umask; for another mode, make the file yourself,
// empty. The directory must exist.
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
//     transactions, is not told from one that ends there: those writes are lost in silence.
//     Damage before that is ErrIncompatible when the file is opened. A mark outside the log
//     would have to be synced with each transaction, which doubles the time of a durable Put.
//   - On Unix a program must not open and close the file (os.Open, os.ReadFile)
//     while it has it open as a store: closing drops the process's locks on it.
//   - Scans are no snapshot, and there are no transactions over several keys.
package localkv

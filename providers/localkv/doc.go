// Package localkv keeps entries in a local file. The file survives crashes, and several
// processes can use it at once. A store is a [kv.Store] over SQLite, without cgo.
//
// # The file
//
// The file is an SQLite 3 database with one table:
//
//	CREATE TABLE kv (
//	  k TEXT NOT NULL PRIMARY KEY, -- key, in byte order
//	  x INTEGER,                   -- expiry in ms since 1970, or NULL
//	  t TEXT NOT NULL,             -- token of the write, which is the entry's version
//	  p TEXT,                      -- predecessors: names of earlier states, or NULL
//	  c INTEGER NOT NULL,          -- checksum of k, x, t and p
//	  d INTEGER NOT NULL,          -- checksum of k and v
//	  v BLOB NOT NULL              -- value
//	);
//	CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL;
//
// The header names skykv (PRAGMA application_id is 0x536b4b56, "SkKV") and the format
// (PRAGMA user_version is 2). [New] returns [kv.ErrIncompatible] for any other file that is
// not empty, including a file of format 1 and a file with other tables, indexes, triggers or
// views. skykv does not change such a file or its log. Each transaction that writes first
// checks whether the schema has changed, so a trigger that another program adds to an open
// store never runs.
//
// While the file is open, and after a crash, two more files belong to it: FILE-wal, the log
// of the latest writes, and FILE-shm. Keep the three together. Copy an open store only with
// [Backup] or SQLite's own ".backup". If the file is gone or empty but FILE-wal has writes,
// opening the file returns ErrIncompatible, because SQLite would delete these writes.
//
// Any SQLite tool may read the file at any time (in the sqlite3 shell: SELECT k, CAST(v AS
// TEXT) FROM kv). No other program may write to the file: its rows would not match the
// checksums.
//
// The file must have only one name. Under a second name (a hard link, or a mount of the file
// alone into a container) it would have a second log, and writes would be lost. So opening
// such a file returns ErrIncompatible. Mount the folder instead.
//
// If the file, its log or FILE-shm is removed, moved or replaced while the store is open,
// then within 10 ms calls begin to return [kv.ErrUnavailable], and do so until the original
// file is back. Writes that were acknowledged within those 10 ms are lost with the file.
//
// # Checksums
//
// Every read checks the data that it reads, so that a bit that flipped on the disk does not
// become a wrong value, version or expiry. The checksums are CRC-32C (Castagnoli), as
// numbers from 0 to 4294967295:
//
//   - c covers the key, a zero byte, the expiry as 8 bytes with the highest first (0 for
//     none), the token, a zero byte and the predecessors.
//   - d covers the key, a zero byte and the value. Calls that do not read the value, such as
//     Exists, KeysOnly and conditional writes, do not check it.
//
// A row that does not match its checksums is damaged. Reads, scans and conditional writes, also
// in batches, return [kv.ErrIncompatible] for its key if they check the checksum that does not
// match. They do the same for a row that skykv cannot have written, for example one with an
// empty token. Scans skip a row whose key is not legal. A Put or Delete without a condition
// replaces or removes a damaged row. A row that does not match c is not removed as expired.
// Count checks no checksums, so it counts damaged rows too.
//
// The checksums do not cover SQLite's own structures. If SQLite finds damage there, the call
// returns ErrIncompatible as well. A flipped bit in the index of keys can hide a key. It can
// also put keys out of order, and a scan then ends with [kv.ErrUnavailable]. [Inspect] reads
// the whole file and finds all such damage. REINDEX repairs an index.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL (and fullfsync, for macOS). When a Put,
// Delete or batch returns without an error, its writes are on the disk, unless the disk
// falsely reports a sync as done. If the process is killed at any moment, or the power
// fails, no such write is lost and no value is torn. The next process that opens the file
// finds every acknowledged write. It finds each other write either completely or not at all.
//
// Concurrent writes of one process are committed together, with one sync. A batch (PutMany,
// DeleteMany) is one transaction for every 128 writes or 256 KiB. If one transaction fails,
// the earlier ones are kept and the later ones are not tried. If it fails because SQLite found
// damage, each of its writes has a transaction of its own, and the batch goes on.
//
// The outcome of a write is unknown, [kv.ErrIndeterminate], in only one case: the disk
// failed during the commit of the write's transaction. After that no reader sees the write,
// and the next write replaces what is left of it in the log. But if every process ends
// before the next write, the failed write may come back. A full disk is not such a case:
// after its error, as after all other errors, nothing was written.
//
// # Several processes
//
// Any number of processes may open the file, and a process may open it several times. A read
// sees every write that any process acknowledged before the read began. Reads never wait for
// writes. Writes wait for reads only when the log starts over: see Costs.
//
// One process writes at a time. The others try twice every millisecond, and a process that
// writes continuously pauses for them every ten milliseconds. In trials with two and three
// processes that wrote at full speed, each made progress, and the longest wait was 53 ms. A
// wait ends when the context ends, or after a minute with [kv.ErrUnavailable]. In both cases
// nothing was written. Once a transaction has begun, the call waits for its end, however
// long the disk takes, so that the result is known.
//
// # Expiry
//
// Expired entries are absent at once, even if they are still in the file. Writes also remove
// a few expired rows at a time, those with the earliest expiry first. A row is removed once
// [kv.ExpiryGrace] has passed since its expiry, by the host's clock and by the clocks of all
// stores that write in the transaction: a store whose clock is ahead must not remove other
// stores' entries. New rows reuse the space. The file does not shrink by itself (VACUUM
// shrinks it).
//
// # Costs
//
// A Get reads one row through an index and copies the value once. A Get is as fast as SQLite
// itself. So is a Put, which takes one sync of the disk. Exists and KeysOnly do not read the
// pages of large values. A scan reads pages of up to 640 entries or 1 MiB, and GetMany reads
// 256 keys or 1 MiB at once. Each page is a separate transaction, which ends before the
// caller sees its entries, so a slow loop holds no lock.
//
// Every reading connection ([Options].Readers) caches up to 2 MiB. The log starts over when
// it has about 8 MiB. If there is always a reader, writes sometimes wait for the log to
// start over: for about 0.1 s, or until their contexts end. During a long read, such as an
// open transaction of the sqlite3 shell or a backup, the log grows.
//
// # Permissions
//
// The file and its directory must be readable and writable, because even a read takes locks
// in FILE-shm. Opening a read-only file returns [kv.ErrPermission]. New files have mode 0644
// less the umask. For a different mode, create the file yourself, empty. The directory must
// exist.
//
// # Caveats
//
//   - The disk must be local. Network file systems (NFS, SMB) lack the shared memory and
//     often the locks that SQLite needs: processes on different hosts would destroy the
//     file. The same holds for folders that some service synchronises.
//   - Do not move, replace or delete the file while it is open. Symbolic links are
//     followed.
//   - After a crash, skykv does not notice that the log was removed or cut off, or that
//     it is damaged in its last two transactions. The writes from that point on are lost
//     without an error. If the damage is before the last two transactions, opening the
//     file returns ErrIncompatible. To detect all damage, skykv would have to sync a mark
//     outside the log in each transaction, which would double the time of a durable Put.
//   - On Unix, a program that has the file open as a store must not also open and close
//     it as a file (os.Open, os.ReadFile): closing the file drops all locks that the
//     process has on the file.
//   - A scan is not a snapshot. There are no transactions across several groups of keys.
package localkv

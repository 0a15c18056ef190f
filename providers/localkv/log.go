package localkv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// The log is a header and a sequence of frames. Each frame is a page that a transaction
// wrote. A frame's checksum continues the checksum of the frame before. Only the last frame
// of a transaction has a size other than 0, in its bytes 4 to 7.
// https://www.sqlite.org/fileformat2.html#the_write_ahead_log
const (
	logHeaderSize   = 32
	frameHeaderSize = 24
	pageSize        = 4096 // see create
)

// logSum is a checksum of the log. It adds up 32-bit words, whose byte order depends on the
// header's magic number.
type logSum [2]uint32

func (s logSum) add(words binary.ByteOrder, data []byte) logSum {
	for ; len(data) >= 8; data = data[8:] {
		s[0] += words.Uint32(data) + s[1]
		s[1] += words.Uint32(data[4:]) + s[0]
	}
	return s
}

func storedSum(data []byte) logSum {
	return logSum{binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])}
}

type logHeader [logHeaderSize]byte

func (h *logHeader) words() binary.ByteOrder {
	if h[3]&1 == 1 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// The method before returns the headers that h may have been before a bit flipped. If the
// checksum of h matches, it returns only h. Otherwise it returns every header that has a
// matching checksum and differs from h in one bit. It returns none if h was not completely
// written, for example because of a crash. A crash may also leave a header that is wrong only
// in its sequence number, so the method does not try the bits of this number.
func (h logHeader) before() (headers []logHeader) {
	whole := func() bool { return storedSum(h[24:]) == (logSum{}).add(h.words(), h[:24]) }
	if whole() {
		return []logHeader{h}
	}
	for bit := range 8 * logHeaderSize {
		if at := bit / 8; at < 12 || at >= 16 {
			h[at] ^= 1 << (bit % 8)
			if whole() {
				headers = append(headers, h)
			}
			h[at] ^= 1 << (bit % 8)
		}
	}
	return headers
}

// checkLog returns an error if the log is damaged before its end. SQLite treats the first
// frame with a wrong checksum as the end of the log, as it must after a crash, and drops
// everything after it. But a transaction begins only when the one before is on the disk. So
// if a bad frame is followed by a whole transaction and the beginning of another one, the bad
// frame was complete on the disk, and was damaged later. Damage in the last two transactions
// looks like a crash, so checkLog does not report it.
func checkLog(path string) error {
	f, err := os.Open(path + logSuffix)
	if err != nil {
		return nil // the log is gone, or SQLite will report the error
	}
	defer f.Close()
	var header, now logHeader
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return unlessEnd(err)
	}
	for _, was := range header.before() {
		damaged, err := hasFramesAfterDamage(f, was, was != header)
		if err != nil {
			return unlessEnd(err)
		}
		if _, err := f.ReadAt(now[:], 0); err != nil || now != header {
			return nil // another process has started the log over meanwhile
		}
		if damaged {
			return errFile("its log %q is damaged, and writes after the damage would be lost: restore a backup, or drop these writes by running PRAGMA wal_checkpoint(TRUNCATE) in the sqlite3 shell", path+logSuffix)
		}
	}
	return nil
}

// hasFramesAfterDamage reports whether a bad frame is followed by a whole transaction and at
// least one more frame. If bad is true, the header counts as a bad frame.
func hasFramesAfterDamage(log io.ReaderAt, header logHeader, bad bool) (bool, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(log, logHeaderSize, 1<<62), 1<<18)
	frame := make([]byte, frameHeaderSize+pageSize)
	words, last, committed := header.words(), storedSum(header[24:]), false
	for {
		if _, err := io.ReadFull(in, frame); err != nil {
			return false, unlessEnd(err)
		}
		ours := string(frame[8:16]) == string(header[16:24]) // otherwise the frame is older than the present log
		good := ours && storedSum(frame[16:]) == last.add(words, frame[:8]).add(words, frame[frameHeaderSize:])
		last = storedSum(frame[16:])
		switch {
		case !good:
			bad, committed = true, false
		case bad && committed:
			return true, nil
		case bad:
			committed = binary.BigEndian.Uint32(frame[4:]) != 0
		}
	}
}

// unlessEnd returns the error of a read, or nil if the read came to the end of the file.
func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return classifyFile(err)
}

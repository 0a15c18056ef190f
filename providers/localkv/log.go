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
	damaged, err := isDamaged(f)
	if err == nil && damaged {
		err = errFile("its log %q is damaged, and writes after the damage would be lost: restore a backup, or drop these writes by running PRAGMA wal_checkpoint(TRUNCATE) in the sqlite3 shell", path+logSuffix)
	}
	return err
}

// isDamaged reports whether the log is damaged before its end. Another process may write to the
// log meanwhile. A frame that was read before that process wrote it looks damaged if the process
// is faster, and the next frames are read after it wrote them. So only damage that is in the same
// place when the log is read again is damage.
func isDamaged(log io.ReaderAt) (bool, error) {
	var header, now logHeader
	if _, err := log.ReadAt(header[:], 0); err != nil {
		return false, unlessEnd(err)
	}
	for _, was := range header.before() {
		first := int64(noDamage)
		if was != header {
			first = 0
		}
		for before := int64(noDamage); ; {
			at, err := damage(log, was, first)
			if err != nil {
				return false, err
			}
			if _, err := log.ReadAt(now[:], 0); err != nil || now != header {
				return false, nil // another process has started the log over meanwhile
			}
			if at == noDamage {
				break
			}
			if at == before {
				return true, nil
			}
			before = at
		}
	}
	return false, nil
}

const noDamage = -1

// damage returns the offset of the first bad frame, if that frame is followed by a whole
// transaction and at least one more frame, and otherwise noDamage. The argument first is 0 if the
// header counts as a bad frame, and otherwise noDamage.
func damage(log io.ReaderAt, header logHeader, first int64) (int64, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(log, logHeaderSize, 1<<62), 1<<18)
	frame := make([]byte, frameHeaderSize+pageSize)
	words, last, committed := header.words(), storedSum(header[24:]), false
	for at := int64(logHeaderSize); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); err != nil {
			return noDamage, unlessEnd(err)
		}
		ours := string(frame[8:16]) == string(header[16:24]) // otherwise the frame is older than the present log
		good := ours && storedSum(frame[16:]) == last.add(words, frame[:8]).add(words, frame[frameHeaderSize:])
		last = storedSum(frame[16:])
		bad := first != noDamage
		switch {
		case !good && !bad:
			first = at
		case !good:
			committed = false
		case bad && committed:
			return first, nil
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

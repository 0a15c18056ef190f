//go:build unix

package localkv

import (
	"os"
	"syscall"
)

// checkLinks returns an error if the file has several hard links.
func checkLinks(info os.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
		return errFile("it has %d hard links, and its log is beside one of them only; want a file with one name", stat.Nlink)
	}
	return nil
}

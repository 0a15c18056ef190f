//go:build !linux

package localkv

import "os"

// checkNames refuses a file with several names, if the system reports them. Its log is beside
// each name: stores that open it by different names do not see each other's writes, and
// destroy them.
func checkNames(_ string, info os.FileInfo) error { return checkLinks(info) }

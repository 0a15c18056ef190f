//go:build !linux

package localkv

import "os"

// checkNames refuses a file that has several names, where the system tells. Its log is beside
// each of them: stores that open it by different names do not see each other's writes, and
// destroy them.
func checkNames(_ string, info os.FileInfo) error { return checkLinks(info) }

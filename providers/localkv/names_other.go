//go:build !linux

package localkv

import "os"

// checkNames returns an error if the system reports that the file has several names. SQLite
// looks for the log beside the name that it was given. So stores that open the file by
// different names would not see each other's writes, and would destroy them.
func checkNames(_ string, info os.FileInfo) error { return checkLinks(info) }

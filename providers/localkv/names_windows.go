package localkv

import "os"

// checkLinks believes that a file has one name: os.FileInfo does not tell.
func checkLinks(os.FileInfo) error { return nil }

package localkv

import "os"

// checkLinks assumes that a file has one name: os.FileInfo does not say.
func checkLinks(os.FileInfo) error { return nil }

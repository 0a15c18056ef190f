package localkv

import "os"

// checkLinks assumes that the file has one name, because os.FileInfo does not say.
func checkLinks(os.FileInfo) error { return nil }

package localkv

import (
	"os"

	"golang.org/x/sys/unix"
)

// checkNames refuses a file that has several names. Its log is beside each of
// them: stores that open it by different names do not see each other's writes, and destroy
// them.
func checkNames(path string, info os.FileInfo) error {
	if err := checkLinks(info); err != nil {
		return err
	}
	// A file that is mounted by itself, as into a container, has another name outside.
	// Kernels before 5.8 do not tell, and are believed.
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, 0, &stat); err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return errFile("it is a mount of a single file, and its log would not be beside the file outside; mount its folder instead")
	}
	return nil
}

package localkv

import (
	"os"
	"strings"
)

// checkNames refuses a file with several names. Its log is beside each name: stores that
// open it by different names do not see each other's writes, and destroy them.
func checkNames(path string, info os.FileInfo) error {
	if err := checkLinks(info); err != nil {
		return err
	}
	// A file that is mounted alone, for example into a container, has another name outside.
	// The fifth field of a line is the mount point, see proc_pid_mountinfo(5). Without
	// /proc the file counts as having one name.
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == escaped {
			return errFile("it is a mount of a single file, and its log would not be beside the file outside; mount its folder instead")
		}
	}
	return nil
}

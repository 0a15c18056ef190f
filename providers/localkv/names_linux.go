package localkv

import (
	"os"
	"strings"
)

// checkNames returns an error if the file has several names. SQLite looks for the log beside
// the name that it was given. So stores that open the file by different names would not see
// each other's writes, and would destroy them.
func checkNames(path string, info os.FileInfo) error {
	if err := checkLinks(info); err != nil {
		return err
	}
	// A file that is mounted alone, for example into a container, has a second name outside
	// the container. The fifth field of each line is a mount point: see
	// proc_pid_mountinfo(5). Without /proc, assume that the file is not mounted alone.
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == escaped {
			return errFile("it is a mount of a single file, and its log would not be beside the file outside; mount its folder instead")
		}
	}
	return nil
}

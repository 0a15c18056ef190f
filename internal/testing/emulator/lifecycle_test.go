package emulator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

var kinds = []Kind{KindDynamoDB, KindFirestore, KindAzureTables}

// available skips the test if this machine cannot start emulators in this way, or if SKYKV_EMULATOR=off. If
// SKYKV_EMULATOR forces this way, the test fails instead.
func available(t *testing.T, way string, kinds ...Kind) {
	t.Helper()
	if os.Getenv("SKYKV_EMULATOR") == "off" {
		t.Skip("SKYKV_EMULATOR=off")
	}
	var err error
	switch way {
	case "docker":
		err = dockerUsable(t.Context())
	case "process":
		for _, kind := range kinds {
			err = errors.Join(err, localProgram[kind]())
		}
	}
	if err != nil {
		notAvailable(t, way, err)
	}
}

// localProgram has, for each kind, a function that returns nil if the kind can run as a
// process, and otherwise an error that says what is missing. Each function checks only once.
var localProgram = func() map[Kind]func() error {
	once := map[Kind]func() error{}
	for kind, s := range services {
		once[kind] = sync.OnceValue(func() error {
			_, err := s.command(context.Background())
			return err
		})
	}
	return once
}()

func notAvailable(t *testing.T, way string, err error) {
	t.Helper()
	if only := os.Getenv("SKYKV_EMULATOR"); only == way {
		t.Fatalf("SKYKV_EMULATOR=%s: %v", only, err)
	}
	t.Skipf("%s: %v", way, err)
}

// notRun is part of the error when Docker answers but cannot run the image, for example without access to a
// registry.
const notRun = "Docker runs no "

// The function gone waits some seconds until the emulator's port, and its container or processes, are gone. If
// they are not, the test fails.
func gone(t *testing.T, e *Emulator) {
	t.Helper()
	hostPort := e.Endpoint
	if u, err := url.Parse(e.Endpoint); err == nil && u.Host != "" {
		hostPort = u.Host
	}
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := ""
		if conn, err := net.DialTimeout("tcp", hostPort, time.Second); err == nil {
			conn.Close()
			left = "a program listens at " + hostPort
		} else if running(t, e) {
			left = e.Way + " " + e.id + " exists"
		}
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s (%s) must be gone, but %s", e.Kind, e.Way, left)
		}
	}
}

func running(t *testing.T, e *Emulator) bool {
	t.Helper()
	switch e.Way {
	case "docker":
		docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer docker.Close()
		list, err := docker.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("id", e.id)})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items) > 0
	case "process":
		ps, err := exec.LookPath("ps")
		if err != nil {
			t.Logf("no ps to look for processes with: %v", err)
			return false
		}
		output, err := exec.Command(ps, "-A", "-o", "pgid=,stat=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(output)) {
			// Z marks a zombie: a dead process for which its parent has not waited.
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == e.id && !strings.HasPrefix(fields[1], "Z") {
				return true
			}
		}
	}
	return false
}

// TestStart starts each kind of emulator in each way, uses it, and stops it.
func TestStart(t *testing.T) {
	for _, way := range []string{"docker", "process"} {
		for _, kind := range kinds {
			t.Run(way+"/"+string(kind), func(t *testing.T) {
				available(t, way, kind)
				forced := os.Getenv("SKYKV_EMULATOR")
				t.Setenv("SKYKV_EMULATOR", way)
				began := time.Now()
				e, err := Start(t.Context(), kind)
				if err != nil {
					if forced != way && strings.Contains(err.Error(), notRun) {
						t.Skip(err)
					}
					t.Fatal(err)
				}
				t.Logf("%s after %v", e.Endpoint, time.Since(began).Round(time.Millisecond))
				if e.Kind != kind || e.Way != way {
					t.Errorf("got %s (%s), want %s (%s)", e.Kind, e.Way, kind, way)
				}
				roundTrip[kind](t, e.Endpoint)
				if way == "docker" {
					publishedOnLoopback(t, e)
				}
				if !running(t, e) {
					t.Errorf("%s %s is not found by this test, so the test could not notice its end", e.Way, e.id)
				}

				// Another program that gets the endpoint from the environment uses the
				// emulator, and leaves it running.
				t.Setenv("SKYKV_EMULATOR", "")
				t.Setenv(services[kind].variable, e.Endpoint)
				named, err := Start(t.Context(), kind)
				if err != nil {
					t.Fatal(err)
				}
				if named.Endpoint != e.Endpoint || named.Way != "environment" {
					t.Errorf("with %s=%s: got %s (%s)", services[kind].variable, e.Endpoint, named.Endpoint, named.Way)
				}
				if err := named.Stop(); err != nil {
					t.Error(err)
				}
				if err := services[kind].probe(t.Context(), e.Endpoint); err != nil {
					t.Errorf("after Stop of an emulator from the environment it does not answer: %v", err)
				}

				// Several goroutines may stop the emulator.
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if err := e.Stop(); err != nil {
							t.Errorf("Stop: %v", err)
						}
					})
				}
				wg.Wait()
				gone(t, e)
			})
		}
	}
}

// publishedOnLoopback checks at which addresses Docker publishes the port. At any other address than loopback,
// other machines could reach it.
func publishedOnLoopback(t *testing.T, e *Emulator) {
	t.Helper()
	docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	inspected, err := docker.ContainerInspect(t.Context(), e.id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	published := 0
	for port, bindings := range inspected.Container.NetworkSettings.Ports {
		for _, binding := range bindings {
			published++
			if !binding.HostIP.IsLoopback() {
				t.Errorf("rule: ports are published only on loopback; %s of %s is at %s:%s", port, e.Kind, binding.HostIP, binding.HostPort)
			}
		}
	}
	if published != 1 {
		t.Errorf("%s publishes %d ports, want the one that serves: %v", e.Kind, published, inspected.Container.NetworkSettings.Ports)
	}
}

// The rule: a Docker that publishes ports at the address of another machine is not used.
func TestDockerElsewhere(t *testing.T) {
	available(t, "docker")
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "172.17.0.1": false, "docker.example": false, "": false} {
		t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", host)
		err := dockerUsable(t.Context())
		switch {
		case want && err != nil:
			t.Errorf("%q: %v", host, err)
		case !want && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), host)):
			t.Errorf("%q: got %v; want ErrUnavailable, and the host", host, err)
		}
	}
}

// The rule: a start that takes too long is a failure, not a reason to skip a test.
func TestCancelledStart(t *testing.T) {
	available(t, "process", KindAzureTables)
	t.Setenv("SKYKV_EMULATOR", "process")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // Node.js takes longer to start
	defer cancel()
	e, err := Start(ctx, KindAzureTables)
	if err == nil {
		t.Fatal(errors.Join(errors.New("it started within 100ms"), e.Stop()))
	}
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want context.DeadlineExceeded and not ErrUnavailable", err)
	}
}

// The child is this test binary, run again. It uses emulators like the tests of any package, and then ends
// in one of several ways.
const (
	childEnds = "SKYKV_EMULATOR_TEST_ENDS"
	childUses = "SKYKV_EMULATOR_TEST_USES" // the kinds of emulators
)

func TestChild(t *testing.T) {
	end := os.Getenv(childEnds)
	if end == "" {
		return // this process is not the child
	}
	started := t.Run("start", func(t *testing.T) {
		for _, kind := range strings.Fields(os.Getenv(childUses)) {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				use := map[Kind]func(testing.TB) string{
					KindDynamoDB: DynamoDB, KindFirestore: Firestore, KindAzureTables: AzureTables,
				}[Kind(kind)]
				first, again := use(t), use(t)
				if first != again {
					t.Errorf("got %s, then %s; a test binary has one emulator of each kind", first, again)
				}
				e, err := shared.get(Kind(kind))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Printf("\nstarted %s %s %s %s\n", e.Kind, e.Way, e.id, e.Endpoint)
			})
		}
	})
	if !started {
		return
	}
	fmt.Println("\nready")
	switch end {
	case "passing":
	case "failing":
		t.Fatal("as told")
	case "exiting":
		os.Exit(3)
	case "panicking":
		go panic("as told")
		select {}
	case "killed":
		select {} // until the parent kills this process
	default:
		t.Fatalf("unknown end %q", end)
	}
}

// TestEmulatorsEndWithTheProgram ends test binaries in five ways, and checks that their emulators end, too.
func TestEmulatorsEndWithTheProgram(t *testing.T) {
	for _, way := range []string{"docker", "process"} {
		for end, kinds := range map[string][]Kind{
			"killed": kinds, // only the guard script can stop these emulators
			// Here one kind is enough: Azurite, which starts fastest. Main stops it after "passing" and
			// "failing", as TestStart stops all kinds. The guard script stops it after the other two.
			"passing":   {KindAzureTables},
			"failing":   {KindAzureTables},
			"exiting":   {KindAzureTables},
			"panicking": {KindAzureTables},
		} {
			t.Run(way+"/"+end, func(t *testing.T) {
				available(t, way, kinds...)
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.timeout=3m")
				cmd.Env = append(os.Environ(), "SKYKV_EMULATOR="+way, childEnds+"="+end, childUses+"="+strings.Trim(fmt.Sprint(kinds), "[]"))
				output, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd.Stderr = cmd.Stdout
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				var emulators []*Emulator
				var printed strings.Builder
				lines := bufio.NewScanner(io.TeeReader(output, &printed))
				for lines.Scan() {
					e := new(Emulator)
					if n, _ := fmt.Sscanf(lines.Text(), "started %s %s %s %s", &e.Kind, &e.Way, &e.id, &e.Endpoint); n == 4 {
						emulators = append(emulators, e)
					}
					if end == "killed" && lines.Text() == "ready" {
						if err := cmd.Process.Kill(); err != nil {
							t.Fatal(err)
						}
					}
				}
				err = cmd.Wait()
				if strings.Contains(printed.String(), notRun) {
					notAvailable(t, way, errors.New(printed.String()))
				}
				if len(emulators) != len(kinds) || slices.ContainsFunc(emulators, func(e *Emulator) bool { return e.Way != way }) {
					t.Fatalf("the test binary must start %v (%s); it printed:\n%s", kinds, way, &printed)
				}
				if passed := err == nil; passed != (end == "passing") {
					t.Errorf("a test binary that ends by %s ended with %v", end, err)
				}
				for _, e := range emulators {
					gone(t, e)
				}
			})
		}
	}
}

// TestSkipsAndFailures checks whether tests are skipped or fail when they cannot have an
// emulator.
func TestSkipsAndFailures(t *testing.T) {
	for _, tc := range []struct {
		name, emulator string
		result         string
		says           []string
	}{
		{"off", "off", "--- SKIP: ", []string{"SKYKV_EMULATOR=off", "DynamoDB Local", "start Docker", "SKYKV_DYNAMODB_ENDPOINT=", toldBefore}},
		{"nothing available", "", "--- SKIP: ", []string{"no DynamoDB Local", "Docker does not answer", "no Java", "start Docker", toldBefore}},
		{"no docker", "docker", "--- FAIL: ", []string{"no DynamoDB Local", "SKYKV_EMULATOR=docker"}},
		{"no process", "process", "--- FAIL: ", []string{"no DynamoDB Local", "SKYKV_EMULATOR=process"}},
		{"unknown setting", "yes", "--- FAIL: ", []string{`"yes"`, "docker, process or off"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withoutEmulators(t)
			t.Setenv("SKYKV_EMULATOR", tc.emulator)
			t.Setenv(oneVariable, "yes")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOneEmulator$", "-test.v")
			output, err := cmd.CombinedOutput()
			if failed := tc.result == "--- FAIL: "; failed != (err != nil) {
				t.Errorf("the test binary ended with %v", err)
			}
			for _, want := range append(tc.says, tc.result+"TestOneEmulator/first", tc.result+"TestOneEmulator/second") {
				if n := strings.Count(string(output), want); n == 0 || n > 1 && want == "Docker does not answer" {
					t.Errorf("rule: the first test says why it is skipped, the others say that it does; %q is there %d times in:\n%s", want, n, output)
				}
			}
		})
	}
}

const (
	oneVariable = "SKYKV_EMULATOR_TEST_ONE"
	toldBefore  = "the first test of this package that was skipped says why"
)

func TestOneEmulator(t *testing.T) {
	if os.Getenv(oneVariable) == "" {
		return // only TestSkipsAndFailures runs this test
	}
	t.Run("first", func(t *testing.T) { DynamoDB(t) })
	t.Run("second", func(t *testing.T) { DynamoDB(t) })
}

// The rule: if an emulator cannot be stopped, the test binary does not pass, even if all tests
// pass.
func TestStopFailureIsSeen(t *testing.T) {
	for _, tc := range []struct{ tests, want int }{{0, 1}, {1, 1}, {2, 2}} {
		f := newFleet(func(_ context.Context, kind Kind) (*Emulator, error) {
			return &Emulator{Kind: kind, stop: func() error { return errors.New("as told") }}, nil
		})
		if _, err := f.get("test"); err != nil {
			t.Fatal(err)
		}
		if got := runTests(exitCode(tc.tests), f); got != tc.want {
			t.Errorf("tests ended with %d and an emulator did not stop: got %d, want %d", tc.tests, got, tc.want)
		}
	}
}

type exitCode int

func (c exitCode) Run() int { return int(c) }

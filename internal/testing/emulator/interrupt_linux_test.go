package emulator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// interruptions are ways to interrupt a program that is starting an emulator.
var interruptions = []struct {
	name, child string
	signal      syscall.Signal
}{
	{"a program's Ctrl-C", "program", syscall.SIGINT}, // like skykv dev
	{"a test's Ctrl-C", "test", syscall.SIGINT},
	{"a test's kill", "test", syscall.SIGKILL},
}

const childStarts = "SKYKV_EMULATOR_TEST_STARTS" // "program" or "test"

// TestStartingChild is the program that other tests interrupt. It starts Azurite, which
// starts fastest.
func TestStartingChild(t *testing.T) {
	switch os.Getenv(childStarts) {
	case "program":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		fmt.Println("\nstarting")
		e, err := Start(ctx, KindAzureTables)
		if err != nil {
			fmt.Println(err)
			if ctx.Err() == nil {
				t.Fatal(err)
			}
			return
		}
		fmt.Println("\nstarted")
		<-ctx.Done()
		if err := e.Stop(); err != nil {
			t.Fatal(err)
		}
	case "test":
		fmt.Println("\nstarting")
		AzureTables(t)
		fmt.Println("\nstarted")
		select {} // until the test interrupts it
	}
}

// A startingChild is a process that runs TestStartingChild.
type startingChild struct {
	by      syscall.Signal // the signal that will interrupt it
	cmd     *exec.Cmd
	folder  string // its folder for temporary files
	lines   *bufio.Scanner
	printed bytes.Buffer
}

func startChild(t *testing.T, way, does string, by syscall.Signal, env ...string) *startingChild {
	t.Helper()
	c := &startingChild{by: by, folder: t.TempDir()}
	c.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStartingChild$", "-test.timeout=3m")
	c.cmd.Env = append(os.Environ(), append(env, "SKYKV_EMULATOR="+way, childStarts+"="+does, c.environment())...)
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = c.cmd.Stdout
	c.lines = bufio.NewScanner(io.TeeReader(output, &c.printed))
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.await(t, "starting")
	return c
}

// environment returns a setting by which the child, and all processes that it starts, can
// be recognised.
func (c *startingChild) environment() string { return "TMPDIR=" + c.folder }

func (c *startingChild) await(t *testing.T, line string) {
	t.Helper()
	for c.lines.Scan() {
		if c.lines.Text() == line {
			return
		}
	}
	if strings.Contains(c.printed.String(), notRun) {
		notAvailable(t, "docker", errors.New(c.printed.String()))
	}
	t.Fatalf("the child ended before it printed %q: %v\n%s", line, c.cmd.Wait(), &c.printed)
}

func (c *startingChild) interrupt() { _ = c.cmd.Process.Signal(c.by) } // Signal fails if the child has ended

// The method wait returns when the child has ended, and reports whether a signal ended it.
func (c *startingChild) wait() (signaled bool) {
	for c.lines.Scan() {
	}
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
}

// The method left returns everything that remains of the child: containers, processes and files.
func (c *startingChild) left(t *testing.T) []string {
	t.Helper()
	left, err := ContainersOf(t.Context(), c.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environments {
		environment, _ := os.ReadFile(file) // unreadable if the process has ended or is another user's; then it is not the child's
		if bytes.Contains(append(environment, 0), []byte(c.environment()+"\x00")) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			left = append(left, fmt.Sprintf("process %s: %q", filepath.Base(filepath.Dir(file)), command))
		}
	}
	files, err := os.ReadDir(c.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		left = append(left, "folder "+file.Name())
	}
	return left
}

// The method check is for a child that has ended, and checks that it left nothing. If a signal ended the child, its
// guards still need a moment.
func (c *startingChild) check(t *testing.T, signaled bool) {
	t.Helper()
	left := c.left(t)
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for signaled && len(left) > 0 && time.Now().Before(deadline) {
		c.removeCreated(t)
		<-tick.C
		left = c.left(t)
	}
	if len(left) > 0 {
		t.Errorf("rule: whenever a start is interrupted, nothing is left; the child ended with %v and left\n%s\nit printed:\n%s",
			c.cmd.ProcessState, strings.Join(left, "\n"), &c.printed)
	}
}

// checkAgain checks, some time after the child has ended, that the child has no container. If
// the child was killed, a container that was created but not started is removed first.
func (c *startingChild) checkAgain(t *testing.T) {
	t.Helper()
	c.removeCreated(t)
	containers, err := ContainersOf(t.Context(), c.cmd.Process.Pid)
	if err != nil || len(containers) > 0 {
		t.Errorf("rule: whenever a start is interrupted, nothing is left; after a while there are %q: %v", containers, err)
	}
}

// removeCreated removes a container that the child created but did not start. SIGKILL may leave one. If the test
// did not remove the container, a later start would.
func (c *startingChild) removeCreated(t *testing.T) {
	t.Helper()
	if c.by == syscall.SIGKILL && dockerUsable(t.Context()) == nil {
		removeUnstartedNow(t, ofAnyAge, labelOf(c.cmd.Process.Pid))
	}
}

// ofAnyAge matches containers of any age. It is negative because Docker rounds ages to seconds.
const ofAnyAge = -time.Minute

// removeUnstartedNow removes containers as the next start would, but with this age and these labels.
func removeUnstartedNow(t *testing.T, age time.Duration, labels ...string) {
	t.Helper()
	docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := removeUnstarted(t.Context(), docker, age, labels...)
		if err == nil {
			return
		}
		if !errdefs.IsConflict(err) { // Docker serves only one such request at a time
			t.Fatal(err)
		}
		<-tick.C
	}
}

// interruptedChildren calls test. The function test starts many children in parallel, and sends each child
// that has ended to the channel. When all have ended, interruptedChildren checks each child again.
func interruptedChildren(t *testing.T, test func(t *testing.T, ended chan<- *startingChild)) {
	ended := make(chan *startingChild, 1000)
	t.Run("interrupted", func(t *testing.T) { test(t, ended) }) // returns when all children have ended
	close(ended)
	for c := range ended {
		c.checkAgain(t)
	}
}

// TestInterruptedAtAnyMoment interrupts children at several moments, from the beginning of a start to about its
// end.
func TestInterruptedAtAnyMoment(t *testing.T) {
	const moments = 8
	for _, way := range []string{"docker", "process"} {
		t.Run(way, func(t *testing.T) {
			available(t, way, KindAzureTables)
			c := startChild(t, way, "program", syscall.SIGINT)
			began := time.Now()
			c.await(t, "started")
			whole := time.Since(began)
			if len(c.left(t)) == 0 {
				t.Error("an emulator runs, and this test does not find it: it could not find one that is left")
			}
			c.interrupt()
			c.check(t, c.wait())
			t.Logf("a whole start takes %v", whole.Round(time.Millisecond))
			whole = min(whole, 2*time.Second) // a start takes longer only on a busy machine

			interruptedChildren(t, func(t *testing.T, ended chan<- *startingChild) {
				for _, by := range interruptions {
					for n := range moments {
						t.Run(fmt.Sprintf("%s at moment %d", by.name, n), func(t *testing.T) {
							t.Parallel()
							c := startChild(t, way, by.child, by.signal)
							timer := time.AfterFunc(whole*time.Duration(n)/(moments-1), c.interrupt)
							defer timer.Stop()
							c.check(t, c.wait())
							ended <- c
						})
					}
				}
			})
		})
	}
}

// A dockerProxy is a proxy between a child and Docker.
type dockerProxy struct {
	environment string // the setting that makes the child use the proxy
	docker      http.RoundTripper

	// The argument what is the last part of the request's path, such as "create".
	request  func(what string, r *http.Request) // called before a request is passed on
	response func(what string, r *http.Request) // called before a response is passed on
}

func newDockerProxy(t *testing.T) *dockerProxy {
	t.Helper()
	docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	dial := docker.Dialer()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	t.Cleanup(transport.CloseIdleConnections)
	p := &dockerProxy{docker: transport, request: func(string, *http.Request) {}, response: func(string, *http.Request) {}}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "docker"}) },
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			p.response(path.Base(r.Request.URL.Path), r.Request)
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // ignore the errors of children that have ended
	}
	folder, err := os.MkdirTemp("", "skykv-proxy-") // the path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.request(path.Base(r.URL.Path), r)
		proxy.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = proxy.ErrorLog
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	p.environment = client.EnvOverrideHost + "=unix://" + socket
	return p
}

// TestDockerInterruptedBetweenRequests interrupts children at the critical moments: right before and after Docker
// creates a container, attaches the connection that keeps it alive, and starts it.
func TestDockerInterruptedBetweenRequests(t *testing.T) {
	available(t, "docker")
	interruptedChildren(t, func(t *testing.T, ended chan<- *startingChild) {
		for _, by := range interruptions {
			for _, what := range []string{"create", "attach", "start"} {
				for _, when := range []string{"request", "response"} {
					t.Run(by.name+" at the "+when+" of "+what, func(t *testing.T) {
						t.Parallel()
						proxy := newDockerProxy(t)
						known := make(chan *startingChild, 1) // passes the child to the proxy's functions
						reached := make(chan struct{})
						interrupt := sync.OnceFunc(func() {
							child := <-known
							close(reached) // before the child ends, because the test then looks at reached
							child.interrupt()
						})
						switch when {
						case "request":
							proxy.request = func(this string, _ *http.Request) {
								if this == what {
									interrupt()
								}
							}
						case "response":
							proxy.response = func(this string, r *http.Request) {
								if this == what {
									interrupt()
									// By the end of this pause, a child that does not wait for the
									// response has ended.
									select {
									case <-r.Context().Done():
									case <-time.After(300 * time.Millisecond):
									}
								}
							}
						}
						c := startChild(t, "docker", by.child, by.signal, proxy.environment)
						known <- c
						signaled := c.wait()
						select {
						case <-reached:
						default:
							t.Fatalf("the child did not get there; it printed:\n%s", &c.printed)
						}
						c.check(t, signaled)
						ended <- c
					})
				}
			}
		}
	})
}

// TestDockerCreationIsNotAnswered loses the response to the creation of a container. Docker creates it later.
func TestDockerCreationIsNotAnswered(t *testing.T) {
	t.Parallel()
	available(t, "docker")
	proxy := newDockerProxy(t)
	var created atomic.Int32
	var creating sync.WaitGroup
	proxy.request = func(what string, r *http.Request) {
		if what != "create" {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		creating.Go(func() {
			<-time.After(500 * time.Millisecond) // by then the child has asked Docker to remove the container
			later := r.Clone(context.Background())
			later.URL.Scheme, later.URL.Host, later.Body = "http", "docker", io.NopCloser(bytes.NewReader(body))
			resp, err := proxy.docker.RoundTrip(later)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusCreated {
				created.Add(1)
			}
		})
		panic(http.ErrAbortHandler)
	}
	c := startChild(t, "docker", "program", 0, proxy.environment)
	c.wait()
	creating.Wait()
	if created.Load() == 0 || c.cmd.ProcessState.Success() {
		t.Fatalf("Docker created %d containers, and the child ended with %v; it printed:\n%s", created.Load(), c.cmd.ProcessState, &c.printed)
	}
	c.check(t, false)
}

// TestDockerRemoveUnstarted checks that a container which a killed program did not start is removed if it is old
// enough, and that it is kept if it is too new or if the label is another program's.
func TestDockerRemoveUnstarted(t *testing.T) {
	t.Parallel()
	available(t, "docker")
	proxy := newDockerProxy(t)
	known := make(chan *startingChild, 1)
	proxy.response = func(what string, _ *http.Request) {
		if what == "create" {
			(<-known).interrupt()
		}
	}
	c := startChild(t, "docker", "test", syscall.SIGKILL, proxy.environment)
	known <- c
	c.wait()

	for _, tc := range []struct {
		age   time.Duration
		label string
		want  int
	}{
		{time.Hour, labelOf(c.cmd.Process.Pid), 1}, // kept: it may be about to start
		{ofAnyAge, labelOf(1), 1},                  // kept: it does not belong to process 1
		{ofAnyAge, labelOf(c.cmd.Process.Pid), 0},
	} {
		removeUnstartedNow(t, tc.age, containerLabel, tc.label)
		containers, err := ContainersOf(t.Context(), c.cmd.Process.Pid)
		if err != nil || len(containers) != tc.want {
			t.Errorf("after removing those with %s that are older than %v: %q, %v; want %d", tc.label, tc.age, containers, err, tc.want)
		}
	}
}

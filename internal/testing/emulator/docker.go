package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	containertypes "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/azure/azurite"
	"github.com/testcontainers/testcontainers-go/modules/dynamodb"
	"github.com/testcontainers/testcontainers-go/modules/gcloud/firestore"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	dynamoDBImage    = "amazon/dynamodb-local:3.3.0"
	firestoreImage   = "gcr.io/google.com/cloudsdktool/google-cloud-cli:528.0.0-emulators"
	azureTablesImage = "mcr.microsoft.com/azure-storage/azurite:3.37.0"
)

// A container is a function that starts an image by means of the testcontainers module for it. It may return a
// container together with an error.
type container func(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, error)

func dynamoDBContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, error) {
	java := slices.Concat([]string{"java"}, dynamoDBJava, []string{"-Djava.library.path=./DynamoDBLocal_lib"})
	opts = append(opts,
		testcontainers.WithEntrypoint(guarded(java...)...),
		testcontainers.WithCmdArgs(dynamoDBFlags...),
	)
	c, err := dynamodb.Run(ctx, dynamoDBImage, opts...)
	if c == nil {
		return nil, err
	}
	return c.Container, err
}

func firestoreContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, error) {
	opts = append(opts,
		testcontainers.WithEntrypoint(guarded()...), // the module appends its own command, which runs gcloud
		testcontainers.WithEnv(map[string]string{"JAVA_TOOL_OPTIONS": strings.Join(firestoreJava, " ")}),
	)
	c, err := firestore.Run(ctx, firestoreImage, opts...)
	if c == nil {
		return nil, err
	}
	return c.Container, err
}

func azureTablesContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, error) {
	opts = append(opts,
		azurite.WithEnabledServices(azurite.TableService),
		// By default the module starts all three services, even if only one is enabled.
		testcontainers.WithEntrypoint(guarded("azurite-table")...),
		testcontainers.WithCmdArgs(azureTablesFlags...),
	)
	c, err := azurite.Run(ctx, azureTablesImage, opts...)
	if c == nil {
		return nil, err
	}
	return c.Container, err
}

// containerLabel is a label of this package's containers. Its value is the id of the process that created the
// container.
const containerLabel = "skykv.emulator"

// ContainersOf lists the containers that the process with this id created, in any state. Tests use it to check
// that none are left. Without Docker the list is empty.
func ContainersOf(ctx context.Context, pid int) ([]string, error) {
	if dockerUsable(ctx) != nil {
		return nil, nil
	}
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	list, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelOf(pid))})
	if err != nil {
		return nil, err
	}
	var containers []string
	for _, c := range list.Items {
		containers = append(containers, fmt.Sprintf("container %s, %s, %s", strings.Join(c.Names, " "), c.State, c.Status))
	}
	return containers, nil
}

func labelOf(pid int) string { return containerLabel + "=" + strconv.Itoa(pid) }

// startContainer runs the service's image in Docker. The argument at is the port of this machine where the
// emulator's port is published; 0 means any free port.
func (s *service) startContainer(ctx context.Context, at uint16) (*Emulator, error) {
	if err := dockerUsable(ctx); err != nil {
		return nil, err
	}
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	_ = removeUnstarted(ctx, docker, unstartedAfter, containerLabel) // if this fails, the next start tries again

	// This function chooses the name, so that it can remove the container even if Docker's response to the creation
	// is lost.
	name := "skykv-" + string(s.kind) + "-" + strings.ToLower(rand.Text())
	port := network.MustParsePort(s.port)
	output := new(tail)
	ended := make(chan struct{})
	var attached *client.ContainerAttachResult
	creation := newCreation(ctx)
	defer creation.end()
	c, err := s.run(creation.ctx,
		testcontainers.WithName(name),
		testcontainers.WithLabels(map[string]string{containerLabel: strconv.Itoa(os.Getpid())}),
		testcontainers.WithLogger(output),
		testcontainers.WithWaitStrategy(noWait), // no wait here: ready waits, below
		testcontainers.WithConfigModifier(func(config *containertypes.Config) {
			// Docker closes the container's standard input when the only connection that is
			// attached to it ends.
			config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
		}),
		testcontainers.WithHostConfigModifier(func(config *containertypes.HostConfig) {
			config.AutoRemove = true // Docker removes the container even if no process is left to do it
			// An emulator accepts requests from anybody, so it must not be reachable from other machines.
			binding := network.PortBinding{HostIP: loopback}
			if at != 0 {
				binding.HostPort = strconv.Itoa(int(at))
			}
			config.PortBindings = network.PortMap{port: {binding}}
		}),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			// This hook runs after the image was pulled, right before the container is
			// created.
			PreCreates: []testcontainers.ContainerRequestHook{func(context.Context, testcontainers.ContainerRequest) error {
				return creation.begin()
			}},
			PreStarts: []testcontainers.ContainerHook{func(ctx context.Context, c testcontainers.Container) error {
				if creation.caller.Err() != nil { // the caller no longer wants the container
					return context.Cause(creation.caller)
				}
				result, err := docker.ContainerAttach(context.WithoutCancel(ctx), c.GetContainerID(), client.ContainerAttachOptions{
					Stream: true, Stdin: true, Stdout: true, Stderr: true,
				})
				if err != nil {
					return fmt.Errorf("attaching to the container: %w", err)
				}
				attached = &result
				go func() {
					defer close(ended)
					// StdCopy ends when the container or the connection ends. Its error says nothing more.
					_, _ = stdcopy.StdCopy(output, output, result.Reader)
				}()
				return nil
			}},
		}),
	)
	if c == nil {
		if creation.begun && answerLost(err) {
			err = errors.Join(err, removeContainer(name, appearWithin))
		}
		return nil, unavailable("Docker runs no %s: %w", s.name, err) // for example, the image cannot be pulled
	}
	stop := func() error {
		// With a timeout of 0 the container is killed at once. There is nothing to save.
		err := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0))
		if attached != nil {
			attached.Close()
			<-ended
		}
		return errors.Join(err, removeContainer(name, 0))
	}
	if err != nil && attached == nil { // the container was never started
		return nil, unavailable("Docker runs no %s: %w", s.name, errors.Join(err, stop()))
	}
	var hostPort string
	if err == nil {
		var published network.Port
		published, err = c.MappedPort(ctx, s.port)
		// Not "localhost", which may be ::1. On ::1, the same port may belong to another
		// container.
		hostPort = net.JoinHostPort(loopback.String(), published.Port())
	}
	if err == nil {
		err = ready(ctx, ended, func(ctx context.Context) error { return s.probe(ctx, s.endpoint(hostPort)) })
	}
	if err != nil {
		stopped := stop() // first, so that the output is complete
		return nil, errors.Join(output.explain(err), stopped)
	}
	return &Emulator{Kind: s.kind, Endpoint: s.endpoint(hostPort), Way: "docker", id: c.GetContainerID(), stop: sync.OnceValue(stop)}, nil
}

var loopback = netip.MustParseAddr("127.0.0.1")

// createGrace is how long Docker may take to complete a container after the caller has given up. On an idle machine
// creating and starting a container takes half a second.
const createGrace = 30 * time.Second

// A creation has the context in which one container is created. Docker completes a creation even if the request is
// cancelled, but then reports nothing. So until the request is sent, the context ends together with the caller's.
// After that, it ends createGrace later than the caller's.
type creation struct {
	ctx    context.Context
	caller context.Context
	cancel context.CancelFunc
	begun  bool
	detach func() bool // ends the effect of the caller's context on ctx; false if that context has already ended
}

func newCreation(caller context.Context) *creation {
	ctx, cancel := context.WithCancel(context.WithoutCancel(caller))
	return &creation{ctx: ctx, caller: caller, cancel: cancel, detach: context.AfterFunc(caller, cancel)}
}

// The method begin must be called right before the request to create the container.
func (c *creation) begin() error {
	if !c.detach() {
		return context.Cause(c.caller)
	}
	c.begun = true
	c.detach = context.AfterFunc(c.caller, func() { time.AfterFunc(createGrace, c.cancel) })
	return nil
}

func (c *creation) end() {
	c.detach()
	c.cancel()
}

// answerLost reports whether Docker may have created a container, or may still create it, although the request
// failed with err.
func answerLost(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

const (
	removeWithin = 30 * time.Second // how long Docker may take to remove a container
	appearWithin = 10 * time.Second // how long a container may take to appear after the response to its creation was lost
)

// removeContainer removes a container in any state, and returns when it is gone. If there is no such container yet,
// removeContainer looks for one until the duration appearing is over, because Docker may still be creating it.
func removeContainer(name string, appearing time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), appearing+removeWithin)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := docker.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil:
			appearing = 0 // ask again, because Docker may respond before the container is gone
		case errdefs.IsNotFound(err) && time.Since(began) >= appearing:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("removing container %s: %w", name, errors.Join(context.Cause(ctx), err))
		}
	}
}

// unstartedAfter is far longer than any container needs from its creation to its start.
const unstartedAfter = 5 * time.Minute

// removeUnstarted removes containers that do not run, that have all of the labels, and that are older than age by
// Docker's clock. Programs that were killed before they started a container leave such containers. (Running ones
// are ended by the guard.) removeUnstarted fails while Docker does the same for another program.
func removeUnstarted(ctx context.Context, docker *testcontainers.DockerClient, age time.Duration, labels ...string) error {
	filters := client.Filters{}.Add("until", age.String()).Add("label", labels...)
	_, err := docker.ContainerPrune(ctx, client.ContainerPruneOptions{Filters: filters})
	return err
}

var noWait = wait.ForNop(func(context.Context, wait.StrategyTarget) error { return nil })

// dockerUsable returns nil if this machine can run containers. Otherwise the error says why not, and
// matches ErrUnavailable.
func dockerUsable(ctx context.Context) error {
	host, err := dockerHost(ctx)
	if err != nil {
		return unavailable("Docker does not answer: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return unavailable("Docker publishes ports at %s, and the emulators are only for this machine; "+
			"if Docker does run here, set TESTCONTAINERS_HOST_OVERRIDE=%s", host, loopback)
	}
	return nil
}

// dockerHost checks that Docker answers, and returns the host at which it publishes ports.
func dockerHost(ctx context.Context) (host string, err error) {
	defer func() {
		// testcontainers panics if it cannot find Docker's socket.
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// testcontainers uses another Docker if the one that DOCKER_HOST names does not answer. So
	// first check that the one that DOCKER_HOST names answers.
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		named, err := client.New(client.FromEnv)
		if err != nil {
			return "", err
		}
		defer named.Close()
		if _, err := named.Ping(ctx, client.PingOptions{}); err != nil {
			return "", err
		}
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", err
	}
	defer provider.Close()
	if err := provider.Health(ctx); err != nil {
		return "", err
	}
	return provider.DaemonHost(ctx)
}

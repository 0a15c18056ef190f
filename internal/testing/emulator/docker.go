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

// A container runs an image with its testcontainers module. The container may be non-nil together with an error.
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
		testcontainers.WithEntrypoint(guarded()...), // before the module's command, which runs gcloud
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
		// Even for one service the module starts all three.
		testcontainers.WithEntrypoint(guarded("azurite-table")...),
		testcontainers.WithCmdArgs(azureTablesFlags...),
	)
	c, err := azurite.Run(ctx, azureTablesImage, opts...)
	if c == nil {
		return nil, err
	}
	return c.Container, err
}

// containerLabel marks the containers of this package. Its value is the process id of the program that created it.
const containerLabel = "skykv.emulator"

// ContainersOf lists the containers of the program with a process id, in any state, for tests that none are left.
// Without Docker there are none.
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

// startContainer runs the service's image in Docker, and publishes it at a port of this machine, or at any if that is 0.
func (s *service) startContainer(ctx context.Context, at uint16) (*Emulator, error) {
	if err := dockerUsable(ctx); err != nil {
		return nil, err
	}
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	_ = removeUnstarted(ctx, docker, unstartedAfter, containerLabel) // the next start tries again

	// The name is chosen here, so that the container can be removed even if Docker's response to its creation is lost.
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
		testcontainers.WithWaitStrategy(noWait), // instead of the module's: ready decides, below
		testcontainers.WithConfigModifier(func(config *containertypes.Config) {
			// Docker ends the container's input when the one connection attached to it ends.
			config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
		}),
		testcontainers.WithHostConfigModifier(func(config *containertypes.HostConfig) {
			config.AutoRemove = true // also if no process is left to remove it
			// An emulator accepts requests from anybody, so it must not be reachable from other machines.
			binding := network.PortBinding{HostIP: loopback}
			if at != 0 {
				binding.HostPort = strconv.Itoa(int(at))
			}
			config.PortBindings = network.PortMap{port: {binding}}
		}),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			// After the image was pulled, and right before the container is created.
			PreCreates: []testcontainers.ContainerRequestHook{func(context.Context, testcontainers.ContainerRequest) error {
				return creation.begin()
			}},
			PreStarts: []testcontainers.ContainerHook{func(ctx context.Context, c testcontainers.Container) error {
				if creation.caller.Err() != nil { // the caller does not want it any more
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
					// It ends when the container ends, and reports nothing else.
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
		return nil, unavailable("Docker runs no %s: %w", s.name, err) // for example, its image cannot be pulled
	}
	stop := func() error {
		// Without a stop timeout it is killed at once: there is nothing to save.
		err := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0))
		if attached != nil {
			attached.Close()
			<-ended
		}
		return errors.Join(err, removeContainer(name, 0))
	}
	if err != nil && attached == nil { // it was never started
		return nil, unavailable("Docker runs no %s: %w", s.name, errors.Join(err, stop()))
	}
	var hostPort string
	if err == nil {
		var published network.Port
		published, err = c.MappedPort(ctx, s.port)
		// Not localhost: that may be ::1, where the same port may belong to another container.
		hostPort = net.JoinHostPort(loopback.String(), published.Port())
	}
	if err == nil {
		err = ready(ctx, ended, func(ctx context.Context) error { return s.probe(ctx, s.endpoint(hostPort)) })
	}
	if err != nil {
		return nil, errors.Join(output.explain(err), stop())
	}
	return &Emulator{Kind: s.kind, Endpoint: s.endpoint(hostPort), Way: "docker", id: c.GetContainerID(), stop: sync.OnceValue(stop)}, nil
}

var loopback = netip.MustParseAddr("127.0.0.1")

// createGrace is the time for Docker to complete a container whose caller has given up. Creating and starting one takes
// half a second on an idle machine.
const createGrace = 30 * time.Second

// A creation is the context of creating one container. Docker completes a creation whose request was cancelled, without
// a report. So before the creation begins the context ends with the caller's, and afterwards it lasts createGrace
// longer.
type creation struct {
	ctx    context.Context
	caller context.Context
	cancel context.CancelFunc
	begun  bool
	detach func() bool // from the caller's context; false if that has ended
}

func newCreation(caller context.Context) *creation {
	ctx, cancel := context.WithCancel(context.WithoutCancel(caller))
	return &creation{ctx: ctx, caller: caller, cancel: cancel, detach: context.AfterFunc(caller, cancel)}
}

// begin is called right before the request to create the container.
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

// answerLost reports whether Docker may have created, or may still create, a container although there is an error.
func answerLost(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

const (
	removeWithin = 30 * time.Second // time for Docker to remove a container
	appearWithin = 10 * time.Second // time for a container to appear if the response to its creation was lost
)

// removeContainer removes a container, in any state, and returns when it is gone. It waits for the time appearing for a
// container that Docker may still be creating.
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
			appearing = 0 // ask again: the response may come before the container is gone
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

// unstartedAfter is far longer than the time between any container's creation and its start.
const unstartedAfter = 5 * time.Minute

// removeUnstarted removes containers with all of the labels that were created at least age ago by Docker's clock and do
// not run. Programs that were killed before the start left them. The guard ends containers that run. If Docker is doing
// the same for another program, that is an error.
func removeUnstarted(ctx context.Context, docker *testcontainers.DockerClient, age time.Duration, labels ...string) error {
	filters := client.Filters{}.Add("until", age.String()).Add("label", labels...)
	_, err := docker.ContainerPrune(ctx, client.ContainerPruneOptions{Filters: filters})
	return err
}

var noWait = wait.ForNop(func(context.Context, wait.StrategyTarget) error { return nil })

// dockerUsable returns why this machine cannot run containers, in an error that matches ErrUnavailable.
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

// dockerHost checks that the engine is reachable, and returns the host where it publishes ports.
func dockerHost(ctx context.Context) (host string, err error) {
	defer func() {
		// testcontainers panics if it cannot find the engine's socket.
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// testcontainers would try other engines if the one in DOCKER_HOST does not answer.
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

package emulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	containertypes "github.com/moby/moby/api/types/container"
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

// A container runs an image with the module made for it and names the port that serves. The container may be
// non-nil in spite of an error.
type container func(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (c testcontainers.Container, port string, err error)

func dynamoDBContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, string, error) {
	java := slices.Concat([]string{"java"}, dynamoDBJava, []string{"-Djava.library.path=./DynamoDBLocal_lib"})
	opts = append(opts,
		testcontainers.WithEntrypoint(guarded(java...)...),
		testcontainers.WithCmdArgs(dynamoDBFlags...),
	)
	c, err := dynamodb.Run(ctx, dynamoDBImage, opts...)
	if c == nil {
		return nil, "", err
	}
	return c.Container, "8000/tcp", err
}

func firestoreContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, string, error) {
	opts = append(opts,
		testcontainers.WithEntrypoint(guarded()...), // before the module's command, which runs gcloud
		testcontainers.WithEnv(map[string]string{"JAVA_TOOL_OPTIONS": strings.Join(firestoreJava, " ")}),
	)
	c, err := firestore.Run(ctx, firestoreImage, opts...)
	if c == nil {
		return nil, "", err
	}
	return c.Container, "8080/tcp", err
}

func azureTablesContainer(ctx context.Context, opts ...testcontainers.ContainerCustomizer) (testcontainers.Container, string, error) {
	opts = append(opts,
		azurite.WithEnabledServices(azurite.TableService),
		// Given one service the module still starts all three.
		testcontainers.WithEntrypoint(guarded("azurite-table")...),
		testcontainers.WithCmdArgs(azureTablesFlags...),
	)
	c, err := azurite.Run(ctx, azureTablesImage, opts...)
	if c == nil {
		return nil, "", err
	}
	return c.Container, azurite.TablePort, err
}

// startContainer runs the service's image in Docker.
func (s *service) startContainer(ctx context.Context) (_ *Emulator, err error) {
	if err := dockerAnswers(ctx); err != nil {
		return nil, unavailable("Docker does not answer: %w", err)
	}
	output := new(tail)
	ended := make(chan struct{})
	var attached *client.ContainerAttachResult
	c, port, err := s.run(ctx,
		testcontainers.WithLogger(output),
		testcontainers.WithWaitStrategy(noWait), // in place of the module's: what counts is ready, below
		testcontainers.WithConfigModifier(func(config *containertypes.Config) {
			// Docker ends the container's input when the one connection attached to it ends.
			config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
		}),
		testcontainers.WithHostConfigModifier(func(config *containertypes.HostConfig) {
			config.AutoRemove = true // also where nobody is left to remove it
		}),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PreStarts: []testcontainers.ContainerHook{func(ctx context.Context, c testcontainers.Container) error {
				docker, err := testcontainers.NewDockerClientWithOpts(ctx)
				if err != nil {
					return err
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
					// It ends when the container does, with nothing to report but that.
					_, _ = stdcopy.StdCopy(output, output, result.Reader)
				}()
				return nil
			}},
		}),
	)
	stop := func() error {
		// With no time to stop it is killed at once: there is nothing to save.
		err := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0))
		if attached != nil {
			attached.Close()
			<-ended
		}
		return err
	}
	if err != nil && attached == nil { // it was never started; say, its image cannot be pulled
		return nil, unavailable("Docker runs no %s: %w", s.name, errors.Join(err, stop()))
	}
	var hostPort string
	if err == nil {
		hostPort, err = c.PortEndpoint(ctx, port, "")
		// The port is the one that Docker gave for IPv4. The same number of ::1 may be another container's.
		hostPort = strings.Replace(hostPort, "localhost:", "127.0.0.1:", 1)
	}
	if err == nil {
		err = ready(ctx, ended, func(ctx context.Context) error { return s.probe(ctx, s.endpoint(hostPort)) })
	}
	if err != nil {
		return nil, errors.Join(output.explain(err), stop())
	}
	return &Emulator{Kind: s.kind, Endpoint: s.endpoint(hostPort), Way: "docker", id: c.GetContainerID(), stop: sync.OnceValue(stop)}, nil
}

var noWait = wait.ForNop(func(context.Context, wait.StrategyTarget) error { return nil })

// dockerAnswers says whether there is an engine to talk to.
func dockerAnswers(ctx context.Context) (err error) {
	defer func() {
		// testcontainers panics when it cannot make out the engine's socket.
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// testcontainers would go on to other engines if the one that DOCKER_HOST names does not answer.
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		named, err := client.New(client.FromEnv)
		if err != nil {
			return err
		}
		defer named.Close()
		if _, err := named.Ping(ctx, client.PingOptions{}); err != nil {
			return err
		}
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer provider.Close()
	return provider.Health(ctx)
}

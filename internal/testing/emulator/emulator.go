// Package emulator implements conformance/emulator, whose documentation says where an emulator comes from and how
// it ends. It is separate because that package returns stores and so imports the providers, whose own tests need
// emulators too.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// A Kind names one of the emulators. Its text is the scheme of skykv's URLs for that service.
type Kind string

// The kinds of emulators.
const (
	KindDynamoDB    Kind = "dynamodb"
	KindFirestore   Kind = "firestore"
	KindAzureTables Kind = "aztables"
)

// The account of every Azurite. The key is public and protects nothing:
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
const (
	AzureAccount = "devstoreaccount1"
	AzureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// ErrUnavailable is matched by the error of [Start] if no emulator can run here, or if SKYKV_EMULATOR=off: then a
// test skips. Every other error is a failure.
var ErrUnavailable = errors.New("no emulator available")

// An Emulator is a running emulator. Its fields must not be changed.
type Emulator struct {
	Kind Kind
	// Endpoint is its address, in the form that the service's client takes: "http://HOST:PORT" for DynamoDB,
	// "HOST:PORT" (gRPC without TLS) for Firestore, "http://HOST:PORT/devstoreaccount1" for Azure Tables. It
	// accepts any credentials, except Azure Tables, which wants AzureAccount and AzureKey.
	Endpoint string
	// Way is the source of the emulator: "environment", "docker" or "process".
	Way string

	id   string // id of the container or process group, for this package's tests
	stop func() error
}

// Stop ends the emulator, deletes its data, and returns when it is gone. It leaves an emulator from the
// environment running. Stop may be called more than once and by several goroutines.
func (e *Emulator) Stop() error { return e.stop() }

// A service has the facts about one kind.
type service struct {
	kind     Kind
	name     string // name in messages
	variable string // names an endpoint in the environment
	example  string // a value of that variable
	get      string // completes "to get one, start Docker, or "

	run      container                                        // starts the image
	port     string                                           // serves in the container
	command  func(context.Context) (commandLine, error)       // finds or installs the local program
	endpoint func(hostPort string) string                     // returns Emulator.Endpoint for a HOST:PORT
	probe    func(ctx context.Context, endpoint string) error // one real request
}

// commandLine returns the command for a port on 127.0.0.1. The port is chosen as late as possible.
type commandLine func(port string) []string

var services = map[Kind]*service{
	KindDynamoDB: {
		kind: KindDynamoDB, name: "DynamoDB Local",
		variable: "SKYKV_DYNAMODB_ENDPOINT", example: "http://localhost:8000",
		get: "install Java 17 or newer and npm",
		run: dynamoDBContainer, port: "8000/tcp", command: dynamoDBCommand,
		endpoint: func(hostPort string) string { return "http://" + hostPort },
		probe:    probeDynamoDB,
	},
	KindFirestore: {
		kind: KindFirestore, name: "Firestore emulator",
		variable: "SKYKV_FIRESTORE_ENDPOINT", example: "localhost:8080",
		get: "install Java 17 or newer and the emulator (gcloud components install cloud-firestore-emulator, " +
			"apt-get install google-cloud-cli-firestore-emulator, or npm install -g firebase-tools)",
		run: firestoreContainer, port: "8080/tcp", command: firestoreCommand,
		endpoint: func(hostPort string) string { return hostPort },
		probe:    probeFirestore,
	},
	KindAzureTables: {
		kind: KindAzureTables, name: "Azurite",
		variable: "SKYKV_AZTABLES_ENDPOINT", example: "http://localhost:10002/" + AzureAccount,
		get: "install Node.js with npm",
		run: azureTablesContainer, port: "10002/tcp", command: azureTablesCommand,
		endpoint: func(hostPort string) string { return "http://" + hostPort + "/" + AzureAccount },
		probe:    probeAzureTables,
	},
}

// Start starts an emulator, or finds the one in the environment, and returns when it responds to requests. The
// package comment says where it comes from. The context limits only the start, which may have to pull an image or
// install a package. The emulator then runs until Stop, or until the program ends, however it ends.
//
// The error matches [ErrUnavailable] if nothing on this machine can run the emulator.
func Start(ctx context.Context, kind Kind) (*Emulator, error) { return StartAt(ctx, kind, 0) }

// StartAt is Start for a port of 127.0.0.1, or any free one if port is 0. An emulator that the environment names stays
// where it is.
func StartAt(ctx context.Context, kind Kind, port uint16) (*Emulator, error) {
	s := services[kind]
	if s == nil {
		return nil, fmt.Errorf("emulator: unknown kind %q; want %q, %q or %q", kind, KindDynamoDB, KindFirestore, KindAzureTables)
	}
	only := os.Getenv("SKYKV_EMULATOR")
	switch only {
	case "", "docker", "process":
	case "off":
		return nil, unavailable("%s is off because SKYKV_EMULATOR=off; to run it, unset SKYKV_EMULATOR, then %s", s.name, s.advice())
	default:
		return nil, fmt.Errorf("emulator: SKYKV_EMULATOR=%q: want docker, process or off, or unset it to use any available way", only)
	}
	if endpoint := os.Getenv(s.variable); endpoint != "" && only == "" {
		return s.fromEnvironment(ctx, endpoint)
	}

	if port != 0 { // or the failure would be Docker's, in its words
		if _, _, err := usablePort(port); err != nil {
			return nil, fmt.Errorf("emulator: port %d cannot be used for %s: %w", port, s.name, err)
		}
	}
	var failures []error
	usable := false // there was a way, and it failed
	for _, way := range []struct {
		name  string
		start func(context.Context, uint16) (*Emulator, error)
	}{
		{"docker", s.startContainer},
		{"process", s.startProcess},
	} {
		if only != "" && only != way.name {
			continue
		}
		e, err := way.start(ctx, port)
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			// Nothing is known to be missing, so only the text of an error is kept that may say so.
			return nil, fmt.Errorf("emulator: starting %s (%s): %w: %v", s.name, way.name, context.Cause(ctx), err)
		}
		usable = usable || !errors.Is(err, ErrUnavailable)
		failures = append(failures, fmt.Errorf("%s: %w", way.name, err))
	}
	err := errors.Join(failures...)
	switch {
	case only != "":
		// Forced: a missing program is also a failure, so only the text is kept, not ErrUnavailable.
		return nil, fmt.Errorf("emulator: no %s, and SKYKV_EMULATOR=%s permits no other way: %v", s.name, only, err)
	case usable:
		return nil, fmt.Errorf("emulator: no %s:\n%v", s.name, err)
	}
	return nil, unavailable("no %s:\n%v\nto get one, %s", s.name, err, s.advice())
}

// advice completes "to get one, ".
func (s *service) advice() string {
	return fmt.Sprintf("start Docker, or %s, or name a running one, as in %s=%s", s.get, s.variable, s.example)
}

// fromEnvironment uses an emulator that another program runs.
func (s *service) fromEnvironment(ctx context.Context, endpoint string) (*Emulator, error) {
	endpoint = strings.TrimSuffix(endpoint, "/")
	hostPort := endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		hostPort = u.Host
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || host == "" || port == "" || strings.ContainsAny(hostPort, "/@?#") || endpoint != s.endpoint(hostPort) {
		// The value is not repeated: it may contain a secret.
		return nil, fmt.Errorf("emulator: %s is not of the form %s", s.variable, s.example)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, namedWithin, fmt.Errorf("no answer within %v", namedWithin))
	defer cancel()
	if err := ready(ctx, nil, func(ctx context.Context) error { return s.probe(ctx, endpoint) }); err != nil {
		return nil, fmt.Errorf("emulator: no %s at %s, which %s names: %w", s.name, endpoint, s.variable, err)
	}
	return &Emulator{Kind: s.kind, Endpoint: endpoint, Way: "environment", stop: func() error { return nil }}, nil
}

// unavailable returns an error that matches ErrUnavailable without repeating its text.
func unavailable(format string, args ...any) error {
	return unavailableError{fmt.Errorf(format, args...)}
}

type unavailableError struct{ error }

func (unavailableError) Is(target error) bool { return target == ErrUnavailable }
func (e unavailableError) Unwrap() error      { return e.error }

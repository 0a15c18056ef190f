// Package emulator implements package conformance/emulator, whose documentation says where an emulator comes from
// and how it ends. The two are separate because conformance/emulator imports the providers, and the providers'
// own tests need emulators, too.
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

// The account that Azurite has by default. Its key is public and protects nothing:
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
const (
	AzureAccount = "devstoreaccount1"
	AzureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// ErrUnavailable means that no emulator can run here, or that SKYKV_EMULATOR=off. The error of [Start] matches it
// in these cases, and a test should be skipped. Every other error is a failure. If SKYKV_EMULATOR names one way to
// run emulators, and this way is not available, the error is a failure, too.
var ErrUnavailable = errors.New("no emulator available")

// An Emulator is a running emulator. Its fields must not be changed.
type Emulator struct {
	Kind Kind
	// Endpoint is the emulator's address, in the form that the service's client takes: "http://HOST:PORT"
	// for DynamoDB, "HOST:PORT" (gRPC without TLS) for Firestore, "http://HOST:PORT/devstoreaccount1" for
	// Azure Tables. Azure Tables requires AzureAccount and AzureKey; the others accept any credentials.
	Endpoint string
	// Way says where the emulator comes from: "environment", "docker" or "process".
	Way string

	id   string // the ID of the container or the process group, for the tests of this package
	stop func() error
}

// Stop ends the emulator and deletes its data. It returns when the emulator is gone. An emulator from
// the environment is left running. Stop may be called more than once, and by several goroutines.
func (e *Emulator) Stop() error { return e.stop() }

// A service has everything that differs between the kinds of emulators.
type service struct {
	kind     Kind
	name     string // the emulator's name in messages
	variable string // the environment variable for an endpoint
	example  string // an example of the variable's value
	get      string // how to get the emulator; an error puts "start Docker, or" before this text

	run      container                                        // starts the container
	port     string                                           // the port in the container
	command  func(context.Context) (commandLine, error)       // finds or installs the local program
	endpoint func(hostPort string) string                     // returns Emulator.Endpoint for a HOST:PORT
	probe    func(ctx context.Context, endpoint string) error // makes one real request
}

// commandLine returns the command that starts a local program at this port of 127.0.0.1. It is a
// function because the port is chosen as late as possible.
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

// Start starts an emulator, or finds the one that the environment names. It returns once the emulator answers
// requests. The documentation of conformance/emulator says where emulators come from. ctx limits only the start,
// which may have to pull an image or install a package. An emulator that Start started runs until Stop is called, or
// until the program ends, however it ends. On a system that is not Unix, a local process stays if the program ends
// without Stop.
//
// The documentation of [ErrUnavailable] says when the error matches it.
func Start(ctx context.Context, kind Kind) (*Emulator, error) { return StartAt(ctx, kind, 0) }

// StartAt is like Start, but the emulator listens on this port of 127.0.0.1, or on any free port if port is 0. For
// an emulator that the environment names, the port is ignored.
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

	if port != 0 { // otherwise Docker would report the failure, in its own words
		if _, _, err := usablePort(port); err != nil {
			return nil, fmt.Errorf("emulator: port %d cannot be used for %s: %w", port, s.name, err)
		}
	}
	var failures []error
	usable := false // whether some way could be tried, and failed
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
			// It is not known whether anything is missing, so the error must not match
			// ErrUnavailable, even if err does. Only err's text is kept.
			return nil, fmt.Errorf("emulator: starting %s (%s): %w: %v", s.name, way.name, context.Cause(ctx), err)
		}
		usable = usable || !errors.Is(err, ErrUnavailable)
		failures = append(failures, fmt.Errorf("%s: %w", way.name, err))
	}
	err := errors.Join(failures...)
	switch {
	case only != "":
		// Where a way is forced, a missing program is a failure. So only err's text is kept: the
		// error must not match ErrUnavailable.
		return nil, fmt.Errorf("emulator: no %s, and SKYKV_EMULATOR=%s permits no other way: %v", s.name, only, err)
	case usable:
		return nil, fmt.Errorf("emulator: no %s:\n%v", s.name, err)
	}
	return nil, unavailable("no %s:\n%v\nto get one, %s", s.name, err, s.advice())
}

// advice says how to get the emulator. It is the end of a sentence such as "to get one, ...".
func (s *service) advice() string {
	return fmt.Sprintf("start Docker, or %s, or name a running one, as in %s=%s", s.get, s.variable, s.example)
}

// fromEnvironment returns the emulator at the endpoint that the environment names.
func (s *service) fromEnvironment(ctx context.Context, endpoint string) (*Emulator, error) {
	endpoint = strings.TrimSuffix(endpoint, "/")
	hostPort := endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		hostPort = u.Host
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || host == "" || port == "" || strings.ContainsAny(hostPort, "/@?#") || endpoint != s.endpoint(hostPort) {
		// The message does not repeat the value, which may contain a secret.
		return nil, fmt.Errorf("emulator: %s is not of the form %s", s.variable, s.example)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, namedWithin, fmt.Errorf("no answer within %v", namedWithin))
	defer cancel()
	if err := ready(ctx, nil, func(ctx context.Context) error { return s.probe(ctx, endpoint) }); err != nil {
		return nil, fmt.Errorf("emulator: no %s at %s, which %s names: %w", s.name, endpoint, s.variable, err)
	}
	return &Emulator{Kind: s.kind, Endpoint: endpoint, Way: "environment", stop: func() error { return nil }}, nil
}

// unavailable returns an error that matches ErrUnavailable but does not contain its text.
func unavailable(format string, args ...any) error {
	return unavailableError{fmt.Errorf(format, args...)}
}

type unavailableError struct{ error }

func (unavailableError) Is(target error) bool { return target == ErrUnavailable }
func (e unavailableError) Unwrap() error      { return e.error }

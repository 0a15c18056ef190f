package emulator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestUnknownSettings(t *testing.T) {
	t.Setenv("SKYKV_EMULATOR", "podman")
	_, err := Start(t.Context(), KindDynamoDB)
	if err == nil || errors.Is(err, ErrUnavailable) {
		t.Fatalf("SKYKV_EMULATOR=podman: got %v; an unknown value is an error, not a reason to skip", err)
	}
	for _, want := range []string{"podman", "docker", "process", "off"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("SKYKV_EMULATOR=podman: %q does not name %s; the message names what is wanted", err, want)
		}
	}

	_, err = Start(t.Context(), "redis")
	if err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "redis") || !strings.Contains(err.Error(), "aztables") {
		t.Errorf("Start(redis): got %v; an unknown kind is an error that names the kinds", err)
	}
}

func TestOff(t *testing.T) {
	t.Setenv("SKYKV_EMULATOR", "off")
	for kind, s := range services {
		t.Setenv(s.variable, s.example) // "off" overrides this endpoint
		_, err := Start(t.Context(), kind)
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("%s: got %v, want ErrUnavailable", kind, err)
		}
		for _, want := range []string{s.name, "SKYKV_EMULATOR=off", "Docker", s.get, s.variable} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not contain %q; the message says how to get one", kind, err, want)
			}
		}
	}
}

// withoutEmulators makes it impossible to run any emulator.
func withoutEmulators(t *testing.T) {
	t.Helper()
	t.Setenv("SKYKV_EMULATOR", "")
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	for _, s := range services {
		t.Setenv(s.variable, "")
	}
}

func TestNothingThere(t *testing.T) {
	withoutEmulators(t)
	for kind, s := range services {
		_, err := Start(t.Context(), kind)
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("%s with no Docker, Java or Node.js: got %v, want ErrUnavailable", kind, err)
		}
		for _, want := range []string{s.name, "Docker does not answer", "process: no ", s.get, s.variable + "=" + s.example} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not contain %q; the message says what is missing and how to get it", kind, err, want)
			}
		}
	}
}

func TestForcedWayIsMissing(t *testing.T) {
	withoutEmulators(t)
	for _, way := range []string{"docker", "process"} {
		t.Setenv("SKYKV_EMULATOR", way)
		for kind := range services {
			_, err := Start(t.Context(), kind)
			if err == nil || errors.Is(err, ErrUnavailable) {
				t.Fatalf("%s, %s: got %v; a forced way that is missing is a failure, not a reason to skip", kind, way, err)
			}
			other := map[string]string{"docker": "process: ", "process": "docker: "}[way]
			if !strings.Contains(err.Error(), "SKYKV_EMULATOR="+way) || strings.Contains(err.Error(), other) {
				t.Errorf("%s, %s: %q does not name SKYKV_EMULATOR=%s, or tried another way", kind, way, err, way)
			}
		}
	}
}

// tables is a server that answers the probes of DynamoDB and Azure Tables.
func tables(t *testing.T) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/" && r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.ListTables":
			io.WriteString(w, `{"TableNames":[]}`)
		case r.Method == http.MethodGet && r.URL.Path == "/devstoreaccount1/Tables" && r.Header.Get("Authorization") != "":
			io.WriteString(w, `{"value":[]}`)
		default:
			http.Error(w, "unexpected "+r.Method+" "+r.URL.Path, http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestEndpointFromEnvironment(t *testing.T) {
	withoutEmulators(t) // so that only the environment is left
	server := tables(t)
	for kind, path := range map[Kind]string{KindDynamoDB: "", KindAzureTables: "/devstoreaccount1"} {
		for _, slash := range []string{"", "/"} {
			t.Setenv(services[kind].variable, server.URL+path+slash)
			e, err := Start(t.Context(), kind)
			if err != nil {
				t.Fatalf("%s: an endpoint named in the environment is used: %v", kind, err)
			}
			if want := server.URL + path; e.Endpoint != want || e.Way != "environment" || e.Kind != kind {
				t.Errorf("%s: got %s, %q, %s; want %s, %q, %s", kind, e.Kind, e.Way, e.Endpoint, kind, "environment", want)
			}
			if err := errors.Join(e.Stop(), e.Stop()); err != nil {
				t.Errorf("%s: Stop: %v", kind, err)
			}
			if err := services[kind].probe(t.Context(), e.Endpoint); err != nil {
				t.Errorf("%s: an emulator from the environment is left running, but: %v", kind, err)
			}
		}
	}
}

// The rule: any server that speaks DynamoDB's protocol can be used, even one that checks the
// form of the signature and its date.
func TestDynamoDBProbeIsDated(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		auth := r.Header.Get("Authorization")
		if age := time.Since(signed).Abs(); err != nil || age > 5*time.Minute ||
			!strings.Contains(auth, "/"+signed.Format("20060102")+"/us-east-1/dynamodb/aws4_request,") || !strings.Contains(auth, "x-amz-date") {
			http.Error(w, `{"__type":"IncompleteSignatureException"}`, http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"TableNames":[]}`)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := probeDynamoDB(ctx, server.URL); err != nil {
		t.Errorf("rule: the probe's signature has its date; got %v", err)
	}
}

func TestForcedWayGoesBeforeEndpoint(t *testing.T) {
	withoutEmulators(t)
	t.Setenv("SKYKV_DYNAMODB_ENDPOINT", tables(t).URL)
	t.Setenv("SKYKV_EMULATOR", "process")
	if e, err := Start(t.Context(), KindDynamoDB); err == nil {
		t.Errorf("SKYKV_EMULATOR=process with an endpoint named: got %s; a forced way permits no other", e.Way)
	}
}

func TestMalformedEndpoint(t *testing.T) {
	withoutEmulators(t)
	const secret = "c2VjcmV0"
	for _, tc := range []struct {
		kind  Kind
		value string
	}{
		{KindDynamoDB, "localhost:8000"},
		{KindDynamoDB, "http://localhost"},
		{KindDynamoDB, "http://:8000"},
		{KindDynamoDB, "https://localhost:8000"},
		{KindDynamoDB, "http://localhost:8000/path"},
		{KindDynamoDB, "http://user:" + secret + "@localhost:8000"},
		{KindDynamoDB, "http://localhost:8000?sig=" + secret},
		{KindDynamoDB, "http://local host:8000/" + secret},
		{KindDynamoDB, "://" + secret},
		{KindFirestore, "http://localhost:8080"},
		{KindFirestore, "localhost"},
		{KindFirestore, ":8080"},
		{KindFirestore, "localhost:"},
		{KindFirestore, "localhost:8080/path"},
		{KindFirestore, secret + "@localhost:8080"},
		{KindAzureTables, "http://localhost:10002"},
		{KindAzureTables, "http://localhost:10002/otheraccount"},
		{KindAzureTables, "http://localhost:10002/devstoreaccount1?sig=" + secret},
		{KindAzureTables, "AccountName=devstoreaccount1;AccountKey=" + secret},
	} {
		s := services[tc.kind]
		t.Setenv(s.variable, tc.value)
		_, err := Start(t.Context(), tc.kind)
		if err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s=%s: got %v; a malformed endpoint is an error", s.variable, tc.value, err)
			continue
		}
		if !strings.Contains(err.Error(), s.variable) || !strings.Contains(err.Error(), s.example) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s=%s: %q; the message names the variable and the form, and repeats no value", s.variable, tc.value, err)
		}
	}
}

func TestEndpointDoesNotAnswer(t *testing.T) {
	withoutEmulators(t)
	teapot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "a teapot", http.StatusTeapot)
	}))
	defer teapot.Close()
	for kind, endpoint := range map[Kind]string{
		KindDynamoDB:    teapot.URL,
		KindFirestore:   strings.TrimPrefix(teapot.URL, "http://"),
		KindAzureTables: teapot.URL + "/devstoreaccount1",
	} {
		s := services[kind]
		t.Setenv(s.variable, endpoint)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := Start(ctx, kind)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v; an endpoint that does not answer as the service would is an error", kind, err)
		} else if !strings.Contains(err.Error(), s.variable) || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("%s: %q names neither the variable nor the endpoint", kind, err)
		}
	}
}

// The rule: the documentation of conformance/emulator has the names and versions that this
// package uses.
func TestDocumentedNames(t *testing.T) {
	source, err := os.ReadFile("../../../conformance/emulator/emulator.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage ")
	for _, want := range []string{
		dynamoDBImage, firestoreImage, azureTablesImage,
		dynamoDBPackage + "@" + dynamoDBVersion, azuritePackage + "@" + azuriteVersion,
		services[KindDynamoDB].variable + "=" + services[KindDynamoDB].example,
		services[KindFirestore].variable + "=" + services[KindFirestore].example,
		services[KindAzureTables].variable + "=" + services[KindAzureTables].example,
	} {
		if !strings.Contains(comment, want) {
			t.Errorf("the package comment does not name %s", want)
		}
	}
}

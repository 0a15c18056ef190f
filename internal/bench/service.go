package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skykv/skykv/internal/testing/canned"
)

// serveCommand is the argument that makes this program a service. A service is a process of
// its own, so that its work is not counted as the clients'.
const serveCommand = "serve"

// service is a running process that imitates a service.
type service struct {
	addr        string
	certificate string // the file of its certificate, if it speaks TLS
}

// start starts a service, which runs until the bed is closed. Its answers come after the
// duration delay, unless args say that some are slower.
func (b *bed) start(kind string, delay time.Duration, args ...string) (service, error) {
	program, err := os.Executable()
	if err != nil {
		return service{}, err
	}
	cmd := exec.Command(program, append([]string{serveCommand, "-delay", delay.String(), "-kind", kind}, args...)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return service{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return service{}, err
	}
	if err := cmd.Start(); err != nil {
		return service{}, err
	}
	b.onClose(func() error {
		stdin.Close()
		return cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return service{}, fmt.Errorf("the service %s does not say where it listens: %w", kind, err)
	}
	return service{addr: strings.TrimSpace(addr)}, nil
}

// startTLS is like start, but the service speaks TLS.
func (b *bed) startTLS(kind string, delay time.Duration, args ...string) (service, error) {
	folder, err := b.folder()
	if err != nil {
		return service{}, err
	}
	if err := writeCertificate(folder); err != nil {
		return service{}, err
	}
	s, err := b.start(kind, delay, append(args, "-tls", folder)...)
	s.certificate = filepath.Join(folder, certificateFile)
	return s, err
}

// The paths at which an HTTP service reports how many connections it has accepted, and how
// many bytes it has read from them and written to them.
const acceptedPath, bytesPath = "/accepted", "/bytes"

// gauge returns a gauge that reads the number that the service reports at a path.
func (s service) gauge(path, unit string) (gauge, error) {
	transport := &http.Transport{} // the call of read below makes its connection, before any turn
	scheme := "http://"
	if s.certificate != "" {
		trusted, err := os.ReadFile(s.certificate)
		if err != nil {
			return gauge{}, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(trusted)
		scheme = "https://"
	}
	client := &http.Client{Transport: transport}
	read := func() (float64, error) {
		resp, err := client.Get(scheme + s.addr + path)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(string(answer), 64)
	}
	_, err := read()
	return gauge{unit: unit, read: read}, err
}

// serve is the program that start runs. It ends when its standard input ends.
func serve(ctx context.Context) error {
	flags := flag.NewFlagSet(serveCommand, flag.ContinueOnError)
	kind := flags.String("kind", "", "")
	delay := flags.Duration("delay", 0, "")
	slow := flags.Duration("slow", 0, "")
	slowEvery := flags.Int("slow-every", 0, "")
	entries := flags.Int("entries", 0, "")
	tlsFolder := flags.String("tls", "", "")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := listener.Addr()
	if *tlsFolder != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(*tlsFolder, certificateFile), filepath.Join(*tlsFolder, keyFile))
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	var run func(net.Listener)
	switch *kind {
	case "dynamodb":
		run = serveHTTP(newDynamoTable(*entries).answer, &canned.Server{Delay: *delay, Slow: *slow, SlowEvery: *slowEvery})
	case "firestore":
		run = serveFirestore(*delay)
	case "aztables":
		run = serveHTTP((&azureTables{newCounters(encodedZero)}).answer, &canned.Server{Delay: *delay})
	default:
		return fmt.Errorf("there is no service %q", *kind)
	}
	go run(listener)
	fmt.Println(addr)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func serveHTTP(answer func(*canned.Request, []byte) []byte, s *canned.Server) func(net.Listener) {
	s.Answer = func(r *canned.Request, to []byte) []byte {
		var counted int64
		switch string(r.Path) {
		case acceptedPath:
			counted = s.Accepted.Load()
		case bytesPath:
			counted = s.Bytes.Load()
		default:
			return answer(r, to)
		}
		body := strconv.FormatInt(counted, 10)
		return fmt.Appendf(to, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	return s.Serve
}

const certificateFile, keyFile = "certificate.pem", "key.pem"

// writeCertificate makes a certificate for this machine. Its key is of the kind that makes
// TLS handshakes cheapest.
func writeCertificate(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "skykv bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name, kind string
		content    []byte
	}{{certificateFile, "CERTIFICATE", certificate}, {keyFile, "PRIVATE KEY", secret}} {
		content := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.content})
		if err := os.WriteFile(filepath.Join(folder, file.name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

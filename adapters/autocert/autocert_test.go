package autocert_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	autocertkv "github.com/skykv/skykv/adapters/autocert"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

var _ autocert.Cache = (*autocertkv.Cache)(nil)

func TestCache(t *testing.T) {
	t.Parallel()
	cache := autocertkv.New(memkv.New())
	for _, name := range []string{
		"example.com", "example.com+rsa", "acme_account+key", "example.com+token", "xn--bcher-kva.example", "a_b", "aT0k-_+http-01", "/", "*.example.com",
	} {
		if data, err := cache.Get(t.Context(), name); data != nil || err != autocert.ErrCacheMiss {
			t.Errorf("rule: what is not stored is ErrCacheMiss itself; %q: %q, %v", name, data, err)
		}
		for _, data := range []string{name, "", "again " + name} {
			if err := cache.Put(t.Context(), name, []byte(data)); err != nil {
				t.Errorf("Put %q: %v", name, err)
			}
			if got, err := cache.Get(t.Context(), name); string(got) != data || err != nil {
				t.Errorf("rule: Get returns what Put stored under that name; %q: %q, %v", name, got, err)
			}
		}
	}
	for _, name := range []string{"example.com", "example.com", "unknown"} {
		if err := cache.Delete(t.Context(), name); err != nil {
			t.Errorf("rule: Delete removes a name, and one that is not stored is no error; %q: %v", name, err)
		}
		if _, err := cache.Get(t.Context(), name); err != autocert.ErrCacheMiss {
			t.Errorf("rule: what was deleted is ErrCacheMiss; %q: %v", name, err)
		}
	}
	if got, err := cache.Get(t.Context(), "example.com+rsa"); string(got) != "again example.com+rsa" || err != nil {
		t.Errorf("rule: Delete removes one name; its neighbour is %q, %v", got, err)
	}
	long := strings.Repeat("a", kv.MaxKeyLen+1)
	if _, err := cache.Get(t.Context(), long); err != autocert.ErrCacheMiss {
		t.Errorf("rule: a name that is too long to be stored is ErrCacheMiss; got %v", err)
	}
	if err := cache.Delete(t.Context(), long); err != nil {
		t.Errorf("rule: deleting a name that cannot be stored is no error; got %v", err)
	}
	if err := cache.Put(t.Context(), long, nil); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: storing a name that is too long is ErrInvalidKey; got %v", err)
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	cache := autocertkv.New(memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))))
	in.Use(faults.Always(faults.Drop))
	get := func() error { _, err := cache.Get(t.Context(), "example.com"); return err }
	for call, err := range map[string]error{"Get": get(), "Put": cache.Put(t.Context(), "example.com", nil), "Delete": cache.Delete(t.Context(), "example.com")} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a store that is unavailable is an error, and no miss; %s: %v", call, err)
		}
	}
	manager := manager(cache)
	if _, err := manager.GetCertificate(ecdsaHello("example.com")); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: no certificate is ordered because the store is unavailable; got %v", err)
	}
	in.Use(nil)
	if _, err := manager.GetCertificate(ecdsaHello("example.com")); !errors.Is(err, errOrdered) {
		t.Errorf("rule: a certificate that is not stored is ordered; got %v", err)
	}
}

// errOrdered says that the manager tried to order a certificate.
var errOrdered = errors.New("a certificate would be ordered")

func manager(cache autocert.Cache) *autocert.Manager {
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  cache,
		Client: &acme.Client{HTTPClient: &http.Client{Transport: noService{}}},
	}
}

// noService is an HTTP transport that fails every request with errOrdered.
type noService struct{}

func (noService) RoundTrip(*http.Request) (*http.Response, error) { return nil, errOrdered }

func ecdsaHello(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:       name,
		CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:  []tls.CurveID{tls.CurveP256},
	}
}

// The rule: a second process serves the certificates that a first process stored, those for ECDSA
// and those for RSA.
func TestManager(t *testing.T) {
	t.Parallel()
	url := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "store.db"))
	open := func() (*kv.Store, *autocertkv.Cache) {
		store, err := localkv.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		certificates, err := store.Namespace("autocert:")
		if err != nil {
			t.Fatal(err)
		}
		return store, autocertkv.New(certificates)
	}
	store, cache := open()
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encodedECDSA, err := x509.MarshalECPrivateKey(ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	leaves := make(map[string][]byte)
	for name, key := range map[string]struct {
		public, private any
		block           pem.Block
	}{
		"example.com":     {&ecdsaKey.PublicKey, ecdsaKey, pem.Block{Type: "EC PRIVATE KEY", Bytes: encodedECDSA}},
		"example.com+rsa": {&rsaKey.PublicKey, rsaKey, pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}},
	} {
		leaf, err := x509.CreateCertificate(rand.Reader, template, template, key.public, key.private)
		if err != nil {
			t.Fatal(err)
		}
		leaves[name] = leaf
		stored := append(pem.EncodeToMemory(&key.block), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})...)
		if err := cache.Put(t.Context(), name, stored); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store, cache = open()
	defer store.Close()
	manager := manager(cache)
	for name, hello := range map[string]*tls.ClientHelloInfo{"example.com": ecdsaHello("example.com"), "example.com+rsa": {ServerName: "example.com"}} {
		certificate, err := manager.GetCertificate(hello)
		if err != nil || !bytes.Equal(certificate.Certificate[0], leaves[name]) {
			t.Errorf("rule: the manager serves what is stored under %s; got %v", name, err)
		}
	}
}

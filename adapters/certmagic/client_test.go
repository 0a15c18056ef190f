package certmagic_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// authority issues certificates, and counts them.
type authority struct {
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	issued atomic.Int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true}
	return &authority{key: key, root: root}
}

func (a *authority) IssuerKey() string { return "test authority" }

func (a *authority) Issue(_ context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.issued.Add(1)), DNSNames: request.DNSNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, a.root, request.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})}, nil
}

// replica returns a certmagic with a cache of its own, as in a separate process. It shares storage
// and issuer with the other replicas.
func replica(t *testing.T, storage certmagic.Storage, issuer certmagic.Issuer) *certmagic.Config {
	t.Helper()
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           zap.NewNop(),
	})
	t.Cleanup(cache.Stop)
	config = certmagic.New(cache, certmagic.Config{
		Storage: storage, Issuers: []certmagic.Issuer{issuer}, Logger: zap.NewNop(), OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	return config
}

// The rule: replicas share certificates. The certificate of each name is issued once, even if all
// replicas want it at the same time. A replica that starts later finds it, and can renew it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	issuer := newAuthority(t)
	openFile := file(t)
	names := []string{"example.com", "*.example.com", "www.xn--bcher-kva.example"}
	var replicas sync.WaitGroup
	for range 3 {
		config := replica(t, open(t, openFile()), issuer)
		for _, name := range names {
			replicas.Go(func() {
				if err := config.ObtainCertSync(t.Context(), name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	replicas.Wait()
	if n := issuer.issued.Load(); n != int64(len(names)) {
		t.Errorf("rule: the locks make each certificate be issued once; %d were issued of %d names", n, len(names))
	}
	late := replica(t, open(t, openFile()), issuer)
	for _, name := range names {
		certificate, err := late.CacheManagedCertificate(t.Context(), name)
		if err != nil || len(certificate.Names) != 1 {
			t.Errorf("rule: a process that starts later finds the certificate of %s; got %v, %v", name, certificate.Names, err)
		}
	}
	if err := late.ObtainCertSync(t.Context(), names[0]); err != nil || issuer.issued.Load() != int64(len(names)) {
		t.Errorf("rule: what is stored is not issued again; %v, %d issued", err, issuer.issued.Load())
	}
	if err := late.RenewCertSync(t.Context(), names[0], true); err != nil || issuer.issued.Load() != int64(len(names))+1 {
		t.Errorf("rule: a renewal stores the next certificate; %v, %d issued", err, issuer.issued.Load())
	}
}

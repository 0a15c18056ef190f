package provider

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"github.com/skykv/skykv/kv"
)

// Connection is a client of a store's service, made from the store's URL and the
// environment. It opens the store any number of times. If the provider has a Connect function,
// the Connection finds credentials only once.
type Connection interface {
	// Open returns the store of the URL. Closing the store leaves the connection open.
	Open(ctx context.Context) (*kv.Store, error)

	// Identity returns a text that is the same for all URLs of this store in this
	// environment, and differs from the text of every other store. It begins with the
	// URL's scheme, and contains no secret. Without a Connect function, it is the URL.
	Identity() string

	// Close closes the connections to the service. Close the stores first.
	Close()
}

// Connect returns a Connection for url. If the provider has a Connect function, Connect reads
// the environment as Open does. It sends nothing to the store's service.
func (s Set) Connect(ctx context.Context, url string) (Connection, error) {
	p, err := s.Find(url)
	if err != nil {
		return nil, err
	}
	if p.Connect == nil {
		return unconnected{p, url}, nil
	}
	c, err := p.Connect(ctx, url)
	if err != nil { // c may hold a nil pointer
		return nil, err
	}
	return c, nil
}

// Identity returns a text for [Connection].Identity. parts name the store within the
// service at the endpoint. endpoint is empty for a service that has the same stores at all
// its endpoints. Different spellings of a host and port have the same result.
func Identity(scheme, endpoint string, parts ...string) string {
	at := ""
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		host, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
		if addr, err := netip.ParseAddr(host); err == nil {
			if host = addr.Unmap().String(); addr.Unmap().IsLoopback() {
				host = "localhost"
			}
		}
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		at = host + ":" + port + strings.TrimRight(u.Path, "/") // without credentials and parameters
	}
	return scheme + "://" + at + "/" + strings.Join(parts, "/")
}

// unconnected is the Connection for a provider without a Connect function.
type unconnected struct {
	provider Provider
	url      string
}

func (u unconnected) Open(ctx context.Context) (*kv.Store, error) {
	return u.provider.Open(ctx, u.url)
}

func (u unconnected) Identity() string { return u.url }

func (unconnected) Close() {}

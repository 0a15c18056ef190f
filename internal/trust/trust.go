// Package trust says which hosts a URL may send credentials to. Anybody may have
// written a URL: a form, a file of settings, a variable. It must not be able to send
// the credentials of the environment to an untrusted host.
package trust

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// EnvHosts is the environment variable with further hosts to which credentials may go
// over https: names such as proxy.example.com, or *.example.com for all names below
// it, separated by commas.
const EnvHosts = "SKYKV_TRUSTED_HOSTS"

// Listed reports whether [EnvHosts] contains a host, which may have a port.
func Listed(host string) bool {
	host = name(host)
	for entry := range strings.SplitSeq(os.Getenv(EnvHosts), ",") {
		if matches(host, strings.TrimSpace(entry)) {
			return true
		}
	}
	return false
}

// Below reports whether a host, which may have a port, is one of domains or below one.
func Below(host string, domains ...string) bool {
	host = name(host)
	for _, domain := range domains {
		if matches(host, domain) || matches(host, "*."+domain) {
			return true
		}
	}
	return false
}

// matches reports whether pattern, a name or "*." and a name, matches host.
func matches(host, pattern string) bool {
	pattern = strings.TrimSuffix(strings.ToLower(pattern), ".")
	if below, ok := strings.CutPrefix(pattern, "*."); ok {
		return below != "" && strings.HasSuffix(host, "."+below)
	}
	return pattern != "" && host == pattern
}

// Near reports whether a host, which may have a port, is this one or in a private
// network: a loopback, private or link-local address, or a name that public name
// servers do not know. It resolves no name.
func Near(host string) bool {
	host = name(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
	}
	return host != "" && !strings.Contains(host, ".") || Below(host, "localhost", "local", "internal")
}

// Same reports whether two endpoints have the same scheme, host and port.
func Same(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Host != "" && ua.Scheme == ub.Scheme && address(ua) == address(ub)
}

func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return name(u.Host) + ":" + port
}

// Refused is the cause of the error of an endpoint to which credentials must not go.
func Refused(endpoint string) error {
	host := "of the URL"
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		host = fmt.Sprintf("%q", u.Host)
	}
	return fmt.Errorf("the credentials of the environment are not sent to the host %s, which a URL alone may not name; to trust it, name it in %s", host, EnvHosts)
}

// name returns a host in lower case, without port, brackets and the final dot.
func name(host string) string {
	u := url.URL{Host: host}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// Package trust decides to which hosts credentials may be sent. A URL may come from
// anybody: from a form, a settings file or a variable. So a URL alone must not make skykv
// send the credentials of the environment to an untrusted host.
package trust

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"
)

// EnvHosts is an environment variable with more hosts to which credentials may be sent over
// https. It is a list, separated by commas, of names such as proxy.example.com. An entry
// such as *.example.com stands for all names below example.com.
const EnvHosts = "SKYKV_TRUSTED_HOSTS"

// Listed reports whether the host, which may include a port, is in [EnvHosts].
func Listed(host string) bool {
	host = name(host)
	for entry := range strings.SplitSeq(os.Getenv(EnvHosts), ",") {
		if matches(host, strings.TrimSpace(entry)) {
			return true
		}
	}
	return false
}

// Below reports whether the host, which may include a port, is one of the domains or a
// subdomain of one.
func Below(host string, domains ...string) bool {
	host = name(host)
	for _, domain := range domains {
		if matches(host, domain) || matches(host, "*."+domain) {
			return true
		}
	}
	return false
}

// matches reports whether host matches pattern, which is a name, or "*." and a name.
func matches(host, pattern string) bool {
	pattern = plain(pattern)
	if below, ok := strings.CutPrefix(pattern, "*."); ok {
		return below != "" && strings.HasSuffix(host, "."+below)
	}
	return pattern != "" && host == pattern
}

// Near reports whether the host, which may include a port, is this machine or in a private
// network. That is true for loopback, private and link-local addresses. It is also true for
// names that public name servers do not know: names without a dot, and localhost, local,
// internal and their subdomains. A name with other characters than ASCII is never near,
// because net/http converts such a name before it looks it up: "evil。com" is evil.com. Near
// looks up no name.
func Near(host string) bool {
	host = name(host)
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
	}
	return host != "" && !strings.Contains(host, ".") && !isNumber(host) || Below(host, "localhost", "local", "internal")
}

// isNumber reports whether a host without dots is a number and not a name. C libraries, and
// so Go's resolver on some systems, treat such a number as an IPv4 address: 134744072 is
// 8.8.8.8.
func isNumber(host string) bool {
	return strings.Trim(host, "0123456789") == "" || strings.HasPrefix(host, "0x")
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

// Refused returns the reason why no credentials are sent to an endpoint.
func Refused(endpoint string) error {
	host := "of the URL"
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		host = fmt.Sprintf("%q", u.Host)
	}
	return fmt.Errorf("the credentials of the environment are not sent to the host %s, which a URL alone may not name; to trust it, name it in %s", host, EnvHosts)
}

// name returns the host without its port and brackets, as plain returns it.
func name(host string) string {
	u := url.URL{Host: host}
	return plain(u.Hostname())
}

// plain returns a host in lower case, without its final dot. An IP address has only one spelling.
func plain(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}

package trust

import (
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8000": true, "LOCALHOST.": true, "db.localhost": true,
		"127.0.0.1": true, "127.9.9.9:80": true, "[::1]:8000": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.1:10002": true,
		"169.254.1.1": true, "[fd00::1]": true, "[::ffff:10.0.0.1]:80": true,
		"dynamodb": true, "dynamodb:8000": true, "host.docker.internal:8000": true, "printer.local": true,
		"": false, "example.com": false, "example.com:8000": false, "8.8.8.8": false, "172.32.0.1": false, "[2001:db8::1]:80": false,
		"10.0.0.1.example.com": false, "localhost.example.com": false, "internal.example.com": false, "127.0.0.1.nip.io": false,
		// Some C libraries treat these numbers as the address 8.8.8.8.
		"134744072": false, "134744072:8000": false, "0x08080808": false, "0X8080808.": false, "01002004010": false,
		// net/http treats each of these characters as a dot, or as the digits of such a number.
		"evil。com": false, "evil．com:8000": false, "evil｡com": false, "８．８．８．８": false, "１３４７４４０７２": false, "0ｘ08080808": false,
	} {
		if got := Near(host); got != want {
			t.Errorf("rule: this host and private networks are near, by address or by a name that is not public; Near(%q) = %t", host, got)
		}
	}
}

func TestListed(t *testing.T) {
	t.Setenv(EnvHosts, "proxy.example.com, *.corp.example,, *., 2001:DB8:0::1")
	for host, want := range map[string]bool{
		"proxy.example.com": true, "Proxy.Example.com:8443": true, "a.corp.example": true, "a.b.corp.example": true, "[2001:db8::1]:8443": true,
		"corp.example": false, "evilcorp.example": false, "proxy.example.com.evil": false, "xproxy.example.com": false, "": false,
	} {
		if got := Listed(host); got != want {
			t.Errorf("rule: the hosts in %s are trusted; Listed(%q) = %t", EnvHosts, host, got)
		}
	}
	t.Setenv(EnvHosts, "")
	if Listed("") || Listed("example.com") {
		t.Errorf("rule: without %s no host is trusted", EnvHosts)
	}
}

func TestBelow(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"amazonaws.com": true, "dynamodb.eu-west-1.amazonaws.com:443": true, "evilamazonaws.com": false, "amazonaws.com.evil.example": false, "": false,
	} {
		if got := Below(host, "amazonaws.com"); got != want {
			t.Errorf("Below(%q) = %t", host, got)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"https://a.example", "https://A.example:443/path", true},
		{"http://a.example:80", "http://a.example", true},
		{"http://a.example", "https://a.example", false},
		{"https://a.example", "https://b.example", false},
		{"https://[2001:db8::1]", "https://[2001:DB8:0:0::1]:443", true},
		{"http://127.0.0.1:8000", "http://[::ffff:127.0.0.1]:8000", true},
		{"https://[2001:db8::1]", "https://[2001:db8::2]", false},
		{"", "", false},
		{"a.example", "a.example", false},
	} {
		if got := Same(c.a, c.b); got != c.want {
			t.Errorf("Same(%q, %q) = %t", c.a, c.b, got)
		}
	}
}

func TestRefusedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	text := Refused("https://evil.example/path?sig=hunter2").Error()
	if !strings.Contains(text, "evil.example") || !strings.Contains(text, EnvHosts) || strings.Contains(text, "hunter2") {
		t.Errorf("rule: an error names the host and what to do, and no secret; got %q", text)
	}
}

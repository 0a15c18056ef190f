package provider

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// URL is a parsed URL of a store. Its scheme and its parameters are known to the store's
// provider: see [ParseURL].
type URL struct {
	Host string // such as a table's name
	Path string // without the leading slash if the form has a host; otherwise it may be absolute

	provider string
	form     string
	query    url.Values
}

// Scheme returns the part of raw before the first colon if that is a scheme, and ""
// otherwise. It also returns "" if the part is longer than any scheme of a store: raw may
// then be the name of a secret, a colon and the secret.
func Scheme(raw string) string {
	scheme, _, found := strings.Cut(raw, ":")
	if !found || len(scheme) > 16 {
		return ""
	}
	for i := range len(scheme) {
		switch c := scheme[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '.' || c == '-'):
		default:
			return ""
		}
	}
	return scheme
}

// ParseURL parses raw strictly. It refuses unknown parts, and no message repeats anything
// that may be a secret. The form, such as "dynamodb://TABLE?region=R&shards=N", names the
// scheme and all parameters, and messages show it to users. provider is the provider's
// name in errors, which match [kv.ErrInvalidOption].
func ParseURL(provider, form, raw string) (*URL, error) {
	u := &URL{provider: provider, form: form}
	scheme, _, _ := strings.Cut(form, ":")
	_, params, _ := strings.Cut(form, "?")
	parsed, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, u.Errorf("the URL cannot be parsed") // url's own error repeats the URL
	case Scheme(raw) == "":
		return nil, u.Errorf("the scheme is missing")
	case parsed.Scheme != scheme:
		return nil, u.Errorf("the scheme is %q", parsed.Scheme)
	case parsed.Opaque != "" && strings.HasPrefix(form, scheme+"://"):
		return nil, u.Errorf("there is no // after the scheme")
	case parsed.User != nil:
		return nil, u.Errorf("credentials do not belong in the URL")
	case parsed.Fragment != "":
		return nil, u.Errorf("the URL has a fragment after #; write %%23 for the character")
	}
	if u.query, err = url.ParseQuery(parsed.RawQuery); err != nil {
		return nil, u.Errorf("the parameters cannot be parsed")
	}
	var allowed []string
	for param := range strings.SplitSeq(params, "&") {
		if name, _, ok := strings.Cut(param, "="); ok {
			allowed = append(allowed, name)
		}
	}
	for name, values := range u.query {
		switch {
		case !slices.Contains(allowed, name) && (strings.Trim(values[0], "=") == "" || Scheme(name+":") == ""):
			return nil, u.Errorf("a parameter is unknown") // its name may be a secret in base64, or a part of a secret that contains an &
		case !slices.Contains(allowed, name):
			return nil, u.Errorf("parameter %q is unknown", name)
		case len(values) != 1 || values[0] == "":
			return nil, u.Errorf("parameter %q must have one value", name)
		}
	}
	u.Host, u.Path = parsed.Host, parsed.Path
	switch {
	case parsed.Opaque != "":
		if u.Path, err = url.PathUnescape(parsed.Opaque); err != nil {
			return nil, u.Errorf("the path cannot be parsed")
		}
	case strings.Contains(form, "://"):
		u.Path = strings.TrimPrefix(u.Path, "/")
	}
	return u, nil
}

// Get returns the value of a parameter, or "" if it is absent.
func (u *URL) Get(name string) string { return u.query.Get(name) }

// paramMaxValue is the parameter for [kv.MaxValue] in every form that has it.
const paramMaxValue = "max-value"

// StoreOptions returns the options for [kv.Store.With] that the URL sets by parameters of
// all providers. There is one such parameter: max-value=BYTES, which sets [kv.MaxValue].
// A value that is not a number from 1 to [kv.MaxLargeValueLen] is an error.
func (u *URL) StoreOptions() ([]kv.StoreOption, error) {
	n, err := u.Int(paramMaxValue, 0, 1, kv.MaxLargeValueLen)
	if err != nil || n == 0 {
		return nil, err
	}
	return []kv.StoreOption{kv.MaxValue(n)}, nil
}

// Int returns the value of a parameter. The argument otherwise is the result if the parameter
// is absent. A value that is not a decimal number from least to most is an error.
func (u *URL) Int(name string, otherwise, least, most int) (int, error) {
	text := u.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, u.Errorf("parameter %q must be a number from %d to %d", name, least, most)
	}
	return n, nil
}

// Duration returns the value of a parameter. The argument otherwise is the result if the
// parameter is absent. A value that is not a positive duration such as 10s is an error.
func (u *URL) Duration(name string, otherwise time.Duration) (time.Duration, error) {
	text := u.Get(name)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, u.Errorf("parameter %q must be a positive duration such as 10s", name)
	}
	return d, nil
}

// Endpoint returns the value of a parameter, or "" if it is absent. The value must be an http
// or https URL without credentials, parameters and fragment.
func (u *URL) Endpoint(name string) (string, error) {
	text := u.Get(name)
	if text == "" {
		return "", nil
	}
	e, err := url.Parse(text)
	if err != nil || (e.Scheme != "http" && e.Scheme != "https") || e.Host == "" || e.User != nil || e.RawQuery != "" || e.Fragment != "" {
		return "", u.Errorf("parameter %q must be a URL such as http://localhost:8000, without credentials or parameters", name)
	}
	return text, nil
}

// Errorf returns an error that says what is wrong with the URL and shows its form.
func (u *URL) Errorf(format string, args ...any) error {
	return &kv.Error{
		Op: "open", Provider: u.provider, Kind: kv.ErrInvalidOption,
		Err: fmt.Errorf("%s; want a URL of the form %s", fmt.Sprintf(format, args...), u.form),
	}
}

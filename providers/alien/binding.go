// Package alien opens the stores that the Alien platform binds to a program.
// Like package providers, it links every provider.
package alien

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
	"github.com/skykv/skykv/providers/localkv"
)

// FileName is the name of the file that holds the store of a local-kv binding, in the
// binding's dataDir. Alien's own database in the same folder has a different name.
const FileName = "skykv.db"

// Open opens the store of the binding called name. The binding is the JSON in the
// environment variable ALIEN_NAME_BINDING, where NAME is name in upper case, with "_" in
// place of "-". For example, Open(ctx, "cache") reads ALIEN_CACHE_BINDING. The JSON has one
// of these forms:
//
//	{"service":"dynamodb","tableName":T,"region":R,"endpointUrl":U}
//	{"service":"firestore","projectId":P,"databaseId":D,"collectionName":C}
//	{"service":"tablestorage","resourceGroupName":G,"accountName":A,"tableName":T}
//	{"service":"local-kv","dataDir":D,"keyPrefix":K}
//
// endpointUrl and keyPrefix may be missing or null. The resource group is not used. The
// environment variable FIRESTORE_EMULATOR_HOST redirects a Firestore binding to an emulator.
// A local-kv binding keeps its entries in the file [FileName] in the folder dataDir, which
// must exist. The entries are in the namespace keyPrefix: see [kv.Store.Namespace].
//
// The table of a dynamodb or tablestorage binding, and the collection of a firestore
// binding, have Alien's own layout, [provider.LayoutAlien]. So this program and programs in
// other languages see each other's entries under the same binding. [Layout] selects a
// different layout. If the table or collection already has a layout other than the selected
// one, Open returns [kv.ErrIncompatible]. The file of a local-kv binding has skykv's own
// layout, which other programs do not read.
//
// Errors in the name or in the binding match [kv.ErrInvalidOption]. Examples are an unset
// variable, a service for which skykv has no provider ("redis"), an unknown or missing field, and
// a field that holds a reference to a secret, or an expression, instead of a text. No message
// repeats a value of the binding that may be a secret.
func Open(ctx context.Context, name string, opts ...Option) (*kv.Store, error) {
	variable, err := variableOf(name)
	if err != nil {
		return nil, invalid(err)
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	b, err := parse(os.Getenv(variable), o)
	if err != nil {
		return nil, invalid(fmt.Errorf("%s: %w", variable, err))
	}
	if b.url != "" {
		return providers.Open(ctx, b.url)
	}
	store, err := localkv.New(filepath.Join(b.dataDir, FileName), nil)
	if err != nil {
		return nil, err
	}
	view, err := store.Namespace(b.keyPrefix)
	if err != nil {
		return nil, errors.Join(invalid(fmt.Errorf("%s: field \"keyPrefix\": %w", variable, err)), store.Close())
	}
	return view, nil
}

// Option is an option of [Open].
type Option func(*options)

type options struct{ layout provider.Layout }

// Layout sets the layout of the binding's table or collection. With [provider.LayoutSkykv]
// the store keeps skykv's whole contract, but only programs with skykv can use the table or
// collection. For a local-kv binding, [provider.LayoutAlien] is an error that matches
// [kv.ErrInvalidOption].
func Layout(layout provider.Layout) Option {
	return func(o *options) { o.layout = layout }
}

func invalid(err error) error {
	return &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: err}
}

// variableOf returns the name of the environment variable of a binding.
func variableOf(name string) (string, error) {
	if name == "" {
		return "", errors.New("the binding's name is empty; want a name of a-z A-Z 0-9 - _")
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', i > 0 && c >= '0' && c <= '9':
		default:
			return "", fmt.Errorf("byte %d of the binding's name is %q; want a-z A-Z 0-9 - _, and no digit first", i, c)
		}
	}
	return "ALIEN_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_") + "_BINDING", nil
}

// binding says where a store is: at url or, if url is "", in the file [FileName] in dataDir,
// under the prefix keyPrefix.
type binding struct {
	url                string
	dataDir, keyPrefix string
}

// fieldsOf has the fields of each service's binding. The value is true for a required field.
var fieldsOf = map[string]map[string]bool{
	"dynamodb":     {"tableName": true, "region": true, "endpointUrl": false},
	"firestore":    {"projectId": true, "databaseId": true, "collectionName": true},
	"tablestorage": {"resourceGroupName": true, "accountName": true, "tableName": true},
	"local-kv":     {"dataDir": true, "keyPrefix": false},
}

func parse(text string, opts options) (binding, error) {
	if err := opts.layout.Check(); err != nil {
		return binding{}, err
	}
	if text == "" {
		return binding{}, errors.New("the variable is not set; want the JSON of a binding, such as {\"service\":\"local-kv\",\"dataDir\":\"/data\"}")
	}
	raw, err := readObject(text)
	if err != nil {
		return binding{}, err
	}
	service, err := textOf(raw, "service", true)
	if err != nil {
		return binding{}, err
	}
	fields, ok := fieldsOf[service]
	if !ok {
		services := strings.Join(slices.Sorted(maps.Keys(fieldsOf)), ", ")
		if service == "redis" {
			return binding{}, errors.New("the service is \"redis\", which skykv has no provider for; want one of " + services)
		}
		return binding{}, errors.New("the service is unknown; want one of " + services)
	}
	values := make(map[string]string)
	for _, field := range slices.Sorted(maps.Keys(raw)) {
		if _, known := fields[field]; !known && field != "service" {
			return binding{}, fmt.Errorf("field %q is unknown; a %s binding has %s", field, service, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if values[field], err = textOf(raw, field, fields[field]); err != nil {
			return binding{}, err
		}
	}
	shared := service != "local-kv" // only skykv uses the file of a local-kv binding
	if opts.layout == provider.LayoutAlien && !shared {
		return binding{}, fmt.Errorf("skykv does not know layout %s in a %s binding; want none, or %s", opts.layout, service, provider.LayoutSkykv)
	}
	query := url.Values{}
	set := func(param, value string) {
		if value != "" {
			query.Set(param, value)
		}
	}
	if shared {
		set("layout", string(cmp.Or(opts.layout, provider.LayoutAlien)))
	}
	u := url.URL{}
	switch service {
	case "dynamodb":
		u.Scheme, u.Host = "dynamodb", values["tableName"]
		set("region", values["region"])
		set("endpoint", values["endpointUrl"])
	case "firestore":
		u.Scheme, u.Host, u.Path = "firestore", values["projectId"], "/"+values["collectionName"]
		set("database", values["databaseId"])
	case "tablestorage":
		u.Scheme, u.Host, u.Path = "aztables", values["accountName"], "/"+values["tableName"]
	case "local-kv":
		if err := kv.ValidatePrefix(values["keyPrefix"]); err != nil {
			return binding{}, fmt.Errorf("field \"keyPrefix\": %w", err)
		}
		return binding{dataDir: values["dataDir"], keyPrefix: values["keyPrefix"]}, nil
	}
	u.RawQuery = query.Encode()
	if strings.ContainsFunc(u.Host, notInHost) {
		// Within the URL, another character could end the name: after ":", for example,
		// the rest of the name would be a port.
		return binding{}, fmt.Errorf("the %s binding's table, project or account is not a name; want a-z A-Z 0-9 . _ -", service)
	}
	return binding{url: u.String()}, nil
}

func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
}

// readObject parses a text that must be one JSON object. Its errors leave out the messages
// of encoding/json, because those may quote values.
func readObject(text string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("the text is not a JSON object")
	}
	fields := make(map[string]json.RawMessage)
	for dec.More() {
		name, err := dec.Token()
		field, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil, errors.New("the text is not valid JSON")
		}
		if _, twice := fields[field]; twice {
			return nil, fmt.Errorf("field %q is there twice", field)
		}
		fields[field] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("the text is not valid JSON")
	}
	if _, err := dec.Token(); err != io.EOF { // unlike Decoder.More, Token also finds a stray brace
		return nil, errors.New("there is something after the JSON object")
	}
	return fields, nil
}

// textOf returns the text in a field, or "" if an optional field is missing.
func textOf(fields map[string]json.RawMessage, field string, required bool) (string, error) {
	raw := bytes.TrimSpace(fields[field])
	switch first := cmp.Or(string(raw), "null")[0]; {
	case first == 'n' && required:
		return "", fmt.Errorf("field %q is missing", field)
	case first == 'n':
		return "", nil
	case first == '{':
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) == nil && object["secretRef"] != nil {
			return "", fmt.Errorf("field %q is a reference to a secret; want a text, which the platform must put there before the program starts", field)
		}
		return "", fmt.Errorf("field %q is an expression that was not resolved; want a text", field)
	case first == '[':
		return "", fmt.Errorf("field %q is an expression that was not resolved; want a text", field)
	case first != '"':
		return "", fmt.Errorf("field %q is not a text", field)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("field %q is not a text", field)
	}
	if text == "" && required {
		return "", fmt.Errorf("field %q is empty", field)
	}
	return text, nil
}

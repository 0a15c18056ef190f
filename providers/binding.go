package providers

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
	"github.com/skykv/skykv/providers/localkv"
)

// BindingFile is the name of the store that a local-kv binding keeps in its
// dataDir: not the name of the reference platform's own database there.
const BindingFile = "skykv.db"

// OpenBinding opens the store of a binding of the reference platform, Alien: the
// JSON in the environment variable ALIEN_NAME_BINDING, where NAME is name in
// upper case with "_" for "-". OpenBinding(ctx, "cache") reads
// ALIEN_CACHE_BINDING, which is one of
//
//	{"service":"dynamodb","tableName":T,"region":R,"endpointUrl":U}
//	{"service":"firestore","projectId":P,"databaseId":D,"collectionName":C}
//	{"service":"tablestorage","resourceGroupName":G,"accountName":A,"tableName":T}
//	{"service":"local-kv","dataDir":D,"keyPrefix":K}
//
// endpointUrl and keyPrefix may be missing or null. The resource group is not
// needed to reach a table. A local-kv binding keeps its entries in the file
// [BindingFile] below dataDir, which must exist, in the [kv.Namespace] keyPrefix.
// The data is skykv's own, in skykv's layout.
//
// A variable that is unset, a service that skykv has no provider for ("redis"), a
// field that is unknown or missing, and a reference to a secret or an expression
// where a value is expected are errors that match [kv.ErrInvalidOption]. None
// repeats a value of the binding that may be a secret.
func OpenBinding(ctx context.Context, name string) (*kv.Store, error) {
	variable, err := bindingVariable(name)
	if err != nil {
		return nil, invalidBinding(err)
	}
	b, err := parseBinding(os.Getenv(variable))
	if err != nil {
		return nil, invalidBinding(fmt.Errorf("%s: %w", variable, err))
	}
	if b.url != "" {
		return Open(ctx, b.url)
	}
	store, err := localkv.New(filepath.Join(b.dataDir, BindingFile), nil)
	if err != nil {
		return nil, err
	}
	view, err := store.Namespace(b.keyPrefix)
	if err != nil {
		return nil, errors.Join(invalidBinding(fmt.Errorf("%s: field \"keyPrefix\": %w", variable, err)), store.Close())
	}
	return view, nil
}

func invalidBinding(err error) error {
	return &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: err}
}

// bindingVariable names the environment variable of a binding.
func bindingVariable(name string) (string, error) {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', i > 0 && c >= '0' && c <= '9':
		default:
			return "", fmt.Errorf("byte %d of the binding's name is %q; allowed are a-z A-Z 0-9 - _", i, c)
		}
	}
	if name == "" {
		return "", errors.New("the binding's name is empty; allowed are names of a-z A-Z 0-9 - _")
	}
	return "ALIEN_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_") + "_BINDING", nil
}

// binding is where a binding leads: to a URL, or to a folder.
type binding struct {
	url                string
	dataDir, keyPrefix string
}

// bindingFields are the fields of each service, true for those that must be there.
var bindingFields = map[string]map[string]bool{
	"dynamodb":     {"tableName": true, "region": true, "endpointUrl": false},
	"firestore":    {"projectId": true, "databaseId": true, "collectionName": true},
	"tablestorage": {"resourceGroupName": true, "accountName": true, "tableName": true},
	"local-kv":     {"dataDir": true, "keyPrefix": false},
}

func parseBinding(text string) (binding, error) {
	if text == "" {
		return binding{}, errors.New("the variable is not set; allowed is the JSON of a binding, such as {\"service\":\"local-kv\",\"dataDir\":\"/data\"}")
	}
	raw, err := readObject(text)
	if err != nil {
		return binding{}, err
	}
	service, err := bindingText(raw, "service", true)
	if err != nil {
		return binding{}, err
	}
	fields, ok := bindingFields[service]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(bindingFields)), ", ")
		if service == "redis" {
			return binding{}, errors.New("the service is \"redis\", which skykv has no provider for; allowed are " + allowed)
		}
		return binding{}, errors.New("the service is unknown; allowed are " + allowed)
	}
	values := make(map[string]string)
	for _, field := range slices.Sorted(maps.Keys(raw)) {
		if _, known := fields[field]; !known && field != "service" {
			return binding{}, fmt.Errorf("field %q is unknown; a %s binding has %s", field, service, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if values[field], err = bindingText(raw, field, fields[field]); err != nil {
			return binding{}, err
		}
	}
	query := url.Values{}
	set := func(param, value string) {
		if value != "" {
			query.Set(param, value)
		}
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
		// In the URL it would be something else than a host.
		return binding{}, fmt.Errorf("the %s binding's table, project or account is not a name; allowed are a-z A-Z 0-9 . _ -", service)
	}
	return binding{url: u.String()}, nil
}

func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
}

// readObject reads one JSON object and nothing else. What encoding/json says is
// left out, since it may quote values.
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
	if _, err := dec.Token(); err != io.EOF { // More is false at a stray brace as well
		return nil, errors.New("there is something after the JSON object")
	}
	return fields, nil
}

// bindingText gives the text of a field, "" for an optional one that is missing.
func bindingText(fields map[string]json.RawMessage, field string, required bool) (string, error) {
	raw := bytes.TrimSpace(fields[field])
	switch first := cmp.Or(string(raw), "null")[0]; {
	case first == 'n' && required:
		return "", fmt.Errorf("field %q is missing", field)
	case first == 'n':
		return "", nil
	case first == '{':
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) == nil && object["secretRef"] != nil {
			return "", fmt.Errorf("field %q is a reference to a secret; allowed is a text, which the platform is to put there before the program starts", field)
		}
		return "", fmt.Errorf("field %q is an expression that was not resolved; allowed is a text", field)
	case first == '[':
		return "", fmt.Errorf("field %q is an expression that was not resolved; allowed is a text", field)
	case first != '"':
		return "", fmt.Errorf("field %q is no text", field)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("field %q is no text", field)
	}
	if text == "" && required {
		return "", fmt.Errorf("field %q is empty", field)
	}
	return text, nil
}

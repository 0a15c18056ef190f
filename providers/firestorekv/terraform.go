package firestorekv

import (
	_ "embed"
	"net/url"
	"strconv"
	"strings"
	"text/template"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// Terraform returns a Terraform configuration of the database, and of the settings that
// [Ensure] makes for the collection of a URL. Terraform does no I/O. The configuration does
// not include the layout document: the first program that opens the store with layout=skykv
// writes it. The errors match [kv.ErrInvalidOption].
//
// examples/terraform/firestore has the configuration for firestore://my-project/kv.
func Terraform(url string) (string, error) {
	c, err := parseURL(url)
	if err != nil {
		return "", err
	}
	l := newLayout(c.Project, c.Options.Database, c.Collection, c.Options.Shards)
	if c.Options.Layout == provider.LayoutAlien {
		l = newAlienLayout(c.Project, c.Options.Database, c.Collection)
	}
	fields := l.fields()
	var text strings.Builder
	err = terraform.Execute(&text, map[string]any{
		"URL": c.plainURL(), "Project": c.Project, "Database": c.Options.Database, "Collection": c.Collection, "Layout": l.name, "Shards": c.Options.Shards,
		"Expiry": fields[0], "Unindexed": fields[1:], "Offset": int(kv.ExpiryGrace.Seconds()),
	})
	return text.String(), err
}

//go:embed terraform.tf.tmpl
var terraformText string

var terraform = template.Must(template.New("terraform").Funcs(template.FuncMap{"literal": literal}).Parse(terraformText))

// plainURL returns the URL of c's store without the endpoint, the timeout and max-value, which
// may differ between the programs that use the store.
func (c *Connection) plainURL() string {
	u := url.URL{Scheme: name, Host: c.Project, Path: c.Collection}
	query := url.Values{}
	if c.Options.Database != defaultDatabase {
		query.Set("database", c.Options.Database)
	}
	if c.Options.Layout != "" {
		query.Set("layout", string(c.Options.Layout))
	}
	if c.Options.Shards != DefaultShards {
		query.Set("shards", strconv.Itoa(c.Options.Shards))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// literal returns text as a literal of Terraform's language. In that language, "${" and
// "%{" begin templates.
func literal(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(text))
}

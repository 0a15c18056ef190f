package firestorekv

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skykv/skykv/kv"
)

// Terraform returns the settings that [Ensure] makes, for the collection of a store's
// URL, as a configuration of Terraform. The layout document is not part of it: the store
// writes it when it is first opened. Errors match [kv.ErrInvalidOption].
func Terraform(url string) (string, error) {
	c, err := parseURL(url)
	if err != nil {
		return "", err
	}
	fields := newLayout(c.Project, c.Options.Database, c.Collection, c.Options.Shards).fields()
	var unindexed []string
	for _, field := range fields[1:] {
		unindexed = append(unindexed, strconv.Quote(field))
	}
	return fmt.Sprintf(`# The settings of collection %[3]s in database %[2]s, which exists.
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
      # A release with ttl_config.expiration_offset in google_firestore_field.
      version = ">= 7.0"
    }
  }
}

provider "google" {
  project = %[1]s
}

# Firestore deletes entries %.0[5]f seconds after their expiry or later.
resource "google_firestore_field" "expiry" {
  database   = %[2]s
  collection = %[3]s
  field      = %[4]q

  ttl_config {
    expiration_offset = "%.0[5]fs"
  }

  index_config {}
}

resource "google_firestore_field" "unindexed" {
  for_each   = toset([%[6]s])
  database   = %[2]s
  collection = %[3]s
  field      = each.key

  index_config {}
}
`, literal(c.Project), literal(c.Options.Database), literal(c.Collection), fields[0],
		kv.ExpiryGrace.Seconds(), strings.Join(unindexed, ", ")), nil
}

// literal returns text as a literal of Terraform's language. In that language, "${" and
// "%{" begin templates.
func literal(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(text))
}

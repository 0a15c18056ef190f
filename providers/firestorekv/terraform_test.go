package firestorekv

import (
	"strings"
	"testing"
)

func TestTerraform(t *testing.T) {
	t.Parallel()
	for storeURL, says := range map[string][]string{
		"firestore://project/cache?database=db&shards=4&endpoint=http://localhost:1": {
			`project = "project"`, `collection = "cache"`, `database   = "db"`, `field      = "x"`,
			`expiration_offset = "3600s"`, `toset(["v", "t", "p"])`,
		},
		"firestore://project/a%22$%7Bb%7D%25%7Bc%7D": {`database   = "(default)"`, `collection = "a\"$${b}%%{c}"`},
	} {
		text, err := Terraform(storeURL)
		if err != nil || strings.Count(text, "{") != strings.Count(text, "}") {
			t.Errorf("%s: %v\n%s", storeURL, err, text)
		}
		for _, want := range says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the text does not hold %q:\n%s", storeURL, want, text)
			}
		}
	}
}

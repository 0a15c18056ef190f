package firestorekv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTerraform(t *testing.T) {
	t.Parallel()
	for storeURL, says := range map[string][]string{
		"firestore://project/cache?database=db&shards=4&timeout=5s&endpoint=http://localhost:1": {
			`default     = "project"`, `default     = "cache"`, `default     = "db"`, `default     = 4`, `field      = "x"`,
			`expiration_offset = "3600s"`, `toset(["v", "t", "p"])`, `delete_protection_state = "DELETE_PROTECTION_ENABLED"`,
			"terraform firestore://project/cache?database=db&shards=4\n",
		},
		"firestore://project/cache?layout=alien": {
			`field      = "expires_at"`, `expiration_offset = "3600s"`, `toset(["value", "skykv_t", "skykv_p", "created_at"])`,
			"terraform firestore://project/cache?layout=alien\n", "&layout=alien&shards=",
		},
		"firestore://project/a%22$%7Bb%7D%25%7Bc%7D": {`default     = "(default)"`, `default     = "a\"$${b}%%{c}"`},
	} {
		text, err := Terraform(storeURL)
		if err != nil || strings.Count(text, "{") != strings.Count(text, "}") {
			t.Errorf("%s: %v\n%s", storeURL, err, text)
		}
		for _, want := range says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the text does not contain %q:\n%s", storeURL, want, text)
			}
		}
	}
}

// TestTerraformExample: the example is the text that Terraform returns.
func TestTerraformExample(t *testing.T) {
	t.Parallel()
	const storeURL = "firestore://my-project/kv"
	want, err := Terraform(storeURL)
	if err != nil {
		t.Fatal(err)
	}
	example := filepath.Join("..", "..", "examples", "terraform", "firestore", "main.tf")
	got, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("rule: %s has what is printed; run: go run ./cmd/skykv provision --print terraform %s > examples/terraform/firestore/main.tf", example, storeURL)
	}
}

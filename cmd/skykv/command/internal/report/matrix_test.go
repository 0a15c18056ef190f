package report

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/skykv/skykv/conformance"
)

func TestMatrix(t *testing.T) {
	t.Parallel()
	whole := &Run{Provider: "mem"}
	for _, c := range failing().Cases {
		whole.Add(c.Name, c.Rule, nil, "", 0)
	}
	got := Matrix([]*Run{whole, failing()})
	want := `| Cases of the suite passed | mem | dynamodb |
|---|---|---|
| all | **3 of 3** | **2 of 3** |

<details><summary>By group</summary>

| Cases of the suite passed | mem | dynamodb |
|---|---|---|
| put | 2 of 2 | 1 of 2 |
| scan | 1 of 1 | 1 of 1 |

</details>
`
	if got != want {
		t.Errorf("the matrix is\n%swant\n%s", got, want)
	}
	page := "# A page\n" + matrixBegin + "what was\nthere\n" + matrixEnd + "the rest\n"
	replaced, err := ReplaceMatrix([]byte(page), got)
	if err != nil || string(replaced) != "# A page\n"+matrixBegin+want+matrixEnd+"the rest\n" {
		t.Errorf("the page becomes\n%s, %v", replaced, err)
	}
	for _, page := range []string{"", matrixBegin, matrixEnd, matrixEnd + matrixBegin} {
		if _, err := ReplaceMatrix([]byte(page), got); err == nil {
			t.Errorf("in the page %q a matrix is replaced", page)
		}
	}
}

// The rule: the README's matrix has the suite's cases, and a column for every
// kind of store.
func TestReadmeIsCurrent(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	got, err := FindMatrix(readme)
	if err != nil {
		t.Fatal(err)
	}
	var runs []*Run
	for _, provider := range []string{"mem", "file", "dynamodb", "dynamodb-alien", "firestore", "aztables"} {
		run := &Run{Provider: provider}
		for _, c := range conformance.Cases() {
			run.Add(c.Name, c.Rule, nil, "", 0)
		}
		runs = append(runs, run)
	}
	// How many passed, and how many were left out, is what make matrix found.
	counts := regexp.MustCompile(`\d+ of (\d+)(?:, (\d+) left out)?`)
	sizes := func(matrix string) string {
		return counts.ReplaceAllStringFunc(matrix, func(text string) string {
			found := counts.FindStringSubmatch(text)
			asked, _ := strconv.Atoi(found[1])
			leftOut, _ := strconv.Atoi(found[2])
			return fmt.Sprintf("N of %d", asked+leftOut)
		})
	}
	if want := Matrix(runs); sizes(got) != sizes(want) {
		t.Errorf("the README's matrix is not current; run: make matrix\n%s", strings.TrimSpace(got))
	}
}

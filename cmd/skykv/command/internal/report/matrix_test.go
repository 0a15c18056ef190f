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
	section := MatrixSection
	page := "# A page\n" + section.begin + "what was\nthere\n" + section.end + "the rest\n"
	replaced, err := section.Replace([]byte(page), got)
	if err != nil || string(replaced) != "# A page\n"+section.begin+want+section.end+"the rest\n" {
		t.Errorf("the page becomes\n%s, %v", replaced, err)
	}
	for _, page := range []string{"", section.begin, section.end, section.end + section.begin} {
		if _, err := section.Replace([]byte(page), got); err == nil {
			t.Errorf("in the page %q a section is replaced", page)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	got := Rules([]conformance.Case{
		{Name: "put/none/absent", Rule: "Put stores. Here the key never had an entry."}, {Name: "put/twice", Rule: "Put stores again."},
		{Name: "put/none/live", Rule: "Put stores. Here the key has one."}, {Name: "get/live", Rule: "Get reads."},
	})
	want := "\n### put\n\n- Put stores. (2 cases, such as `put/none/absent`)\n- Put stores again. (`put/twice`)\n\n### get\n\n- Get reads. (`get/live`)\n"
	if got != want {
		t.Errorf("the rules are\n%swant\n%s", got, want)
	}
}

// The rule: docs/contract.md has the suite's rules, the number of cases in each group, and a
// column for every kind of store.
func TestContractIsCurrent(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := RulesSection.Find(page)
	if want := Rules(append(conformance.Cases(), conformance.FaultCases()...)); err != nil || rules != want {
		t.Errorf("the rules of docs/contract.md are not the suite's (%v); run: make rules", err)
	}
	got, err := MatrixSection.Find(page)
	if err != nil {
		t.Fatal(err)
	}
	var runs []*Run
	for _, provider := range []string{"mem", "file", "dynamodb", "dynamodb-alien", "firestore", "firestore-alien", "aztables", "aztables-alien"} {
		run := &Run{Provider: provider}
		for _, c := range conformance.Cases() {
			run.Add(c.Name, c.Rule, nil, "", 0)
		}
		runs = append(runs, run)
	}
	// Only a run of make matrix knows how many cases passed, and how many were left out. So
	// sizes removes these numbers from both texts, and keeps the totals.
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
		t.Errorf("the matrix of docs/contract.md is not current; run: make matrix\n%s", strings.TrimSpace(got))
	}
}

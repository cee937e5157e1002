package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^(?:Test|Fuzz)[A-Z]\w*$`)
)

// has reports whether a package has a test.
func has(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// Each bound of docs/security.md names the test that holds it: `package` `TestName`. A table whose last column is
// headed "test in `package`" leaves the package out.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, inPackage := 0, ""
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		where := strings.TrimSpace(cells[len(cells)-1])
		if !strings.HasPrefix(line, "|") {
			inPackage = ""
			continue
		}
		if strings.HasPrefix(where, "test") || strings.HasPrefix(where, "---") {
			if of := quoted.FindStringSubmatch(where); of != nil {
				inPackage = of[1]
			}
			continue
		}
		rows++
		found, dir := 0, inPackage
		for _, token := range quoted.FindAllStringSubmatch(where, -1) {
			switch {
			case !testName.MatchString(token[1]):
				dir = token[1]
			case has(t, dir, token[1]):
				found++
			default:
				t.Errorf("%s: package %q has no test %s", cells[0], dir, token[1])
			}
		}
		if found == 0 {
			t.Errorf("no test holds%s: %q", cells[0], where)
		}
	}
	if rows < 20 {
		t.Errorf("%d rows were found", rows)
	}
}

package look

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// Every value of an attribute that names series has a colour, and no colour is for a value that there is not.
func TestColors(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "signals.md"))
	if err != nil {
		t.Fatal(err)
	}
	for attribute, colors := range map[string]Colors{
		"error.type": Failures, "redial.teardown.cause": Causes, "redial.wait.reason": Reasons,
	} {
		paragraph := regexp.MustCompile("(?s)\n`" + regexp.QuoteMeta(attribute) + "`: (.*?)\n\n").FindSubmatch(page)
		if paragraph == nil {
			t.Fatalf("docs/signals.md does not list the values of %s", attribute)
		}
		var values []string
		for _, v := range regexp.MustCompile("`([a-z0-9_]+|_OTHER)`").FindAllStringSubmatch(string(paragraph[1]), -1) {
			values = append(values, v[1])
		}
		for _, v := range values {
			if !slices.ContainsFunc(colors, func(c struct{ Name, Color string }) bool { return c.Name == v }) {
				t.Errorf("%s=%s has no colour", attribute, v)
			}
		}
		for _, c := range colors {
			if !slices.Contains(values, c.Name) && c.Name != "connecting" {
				t.Errorf("%s is never %s", attribute, c.Name)
			}
		}
	}
}

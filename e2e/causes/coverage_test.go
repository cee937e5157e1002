package causes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/redial-dev/redial/instrument/event"
)

// seen are the values that were produced in this run.
var seen struct{ causes, types sync.Map }

func recordCause(c event.Cause)   { seen.causes.Store(string(c), nil) }
func recordType(errorType string) { seen.types.Store(errorType, nil) }

func produced(values *sync.Map, value string) bool {
	_, ok := values.Load(value)
	return ok
}

// everyValue checks that each value of the closed sets was produced for real, here or by a scenario of package
// instrument (whose record is in testdata/scenarios). It runs once all tests have.
func everyValue() error {
	files, err := filepath.Glob(filepath.Join("..", "..", "instrument", "testdata", "scenarios", "*.txt"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find scenarios: %d files: %w", len(files), err)
	}
	var scenarios string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		scenarios += string(text)
	}
	signals, err := os.ReadFile(filepath.Join("..", "..", "docs", "signals.md"))
	if err != nil {
		return err
	}
	var errs []error
	for key, values := range map[string]*sync.Map{"error.type": &seen.types, "redial.teardown.cause": &seen.causes} {
		list := regexp.MustCompile("(?s)\n`" + regexp.QuoteMeta(key) + "`: (.*?)\\.\n").FindSubmatch(signals)
		if list == nil {
			return fmt.Errorf("docs/signals.md does not list the values of %s", key)
		}
		for _, v := range regexp.MustCompile("`([a-zA-Z0-9_]+)`").FindAllStringSubmatch(string(list[1]), -1) {
			inScenario := regexp.MustCompile(`(?m)(error\.type|teardown\.cause)="?([a-z_]+\|)*` + v[1] + `[ "|:\n]`)
			if !produced(values, v[1]) && !inScenario.MatchString(scenarios) {
				errs = append(errs, fmt.Errorf("%s=%s was never produced", key, v[1]))
			}
		}
	}
	return errors.Join(errs...)
}

package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// serviceLink matches the variables that Kubernetes and Docker set for a service called redial-something.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP).*)?)$`)

// unknownVariables returns an error for each REDIAL_ variable of an environment that nothing reads, with the known name
// that is nearest.
func unknownVariables(environ []string) (errs []error) {
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "REDIAL_") || serviceLink.MatchString(name) ||
			slices.ContainsFunc(settings, func(s setting) bool { return s.variable == name }) {
			continue
		}
		nearest := slices.MinFunc(settings, func(a, b setting) int {
			return distance(name, a.variable) - distance(name, b.variable)
		})
		errs = append(errs, fmt.Errorf("redial agent: unknown variable %s, which has no effect: do you mean %s?",
			name, nearest.variable))
	}
	return errs
}

// distance is Levenshtein's: how many bytes are to be added, left out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

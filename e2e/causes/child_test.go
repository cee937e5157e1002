package causes

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// childEnv names the test that runs in a child process, which its parent needs for what holds for a whole process.
const childEnv = "REDIAL_CAUSES_CHILD"

// isChild reports whether this is the child process of the test.
func isChild(t *testing.T) bool { return os.Getenv(childEnv) == t.Name() }

// runChild runs this test, and no other, in a child process with more environment variables.
func runChild(t *testing.T, env ...string) {
	t.Helper()
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	cmd := exec.Command(os.Args[0], "-test.run="+strings.Join(parts, "/"), "-test.v")
	cmd.Env = append(append(os.Environ(), childEnv+"="+t.Name()), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a child process: %v:\n%s", err, out)
	}
}

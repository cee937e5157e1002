package instrument_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The program in the README prints what happens, with a server's address and without.
func TestProgramOfREADME(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)<!-- A test runs this program. -->\n```go\n(.*?)```").FindSubmatch(readme)
	if program == nil {
		t.Fatal("the README has no program")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, program[1], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, want []string
	}{
		{[]string{srv.address}, []string{"attempt 1 to " + srv.address, "READY", "the RPC ended with: <nil>"}},
		{nil, []string{"attempt 1 to", "connection refused", "backing off",
			"the RPC ended with: rpc error: code = DeadlineExceeded"}},
	} {
		out, err := exec.Command("go", append([]string{"run", file}, c.args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v:\n%s", c.args, err, out)
		}
		for _, want := range c.want {
			if !bytes.Contains(out, []byte(want)) {
				t.Errorf("%q: no %q in\n%s", c.args, want, out)
			}
		}
	}
	env.shutdown()
}

// CONTRIBUTING names no file or folder that there is not.
func TestPathsOfCONTRIBUTING(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("(?:`|docs/)[a-z0-9./_]*(?:/|\\.go|\\.md)").FindAll(text, -1)
	if len(paths) < 30 {
		t.Errorf("only %d paths were found", len(paths))
	}
	for _, path := range paths {
		path := string(bytes.TrimPrefix(path, []byte("`")))
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			t.Errorf("CONTRIBUTING.md names %s: %v", path, err)
		}
	}
}

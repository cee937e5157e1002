package instrument_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The program in the README prints the trace of its first connection.
func TestProgramOfREADME(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
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
	out, err := exec.Command("go", "run", file, srv.address).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, name := range []string{"grpc.resolve", "grpc.connect", "grpc.connect.attempt", "grpc.connect.dial",
		"grpc.connect.handshake", "grpc.connect.settings", "grpc.transport"} {
		if !bytes.Contains(out, []byte(`"Name":"`+name+`"`)) {
			t.Errorf("no span %s in\n%s", name, out)
		}
	}
	s.shutdown()
}

// Package docs_test holds docs/ against the code.
package docs_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/api anew")

const module = "github.com/redial-dev/redial"

// publicPackages lists the packages that a program may import. Those below deploy are the demo's.
func publicPackages(t *testing.T) (packages []string) {
	t.Helper()
	for _, line := range strings.Split(run(t, "go", "list", "-f", "{{.Name}} {{.ImportPath}}", module+"/..."), "\n") {
		name, path, _ := strings.Cut(line, " ")
		if path == "" || name == "main" || strings.HasPrefix(path, module+"/deploy/") {
			continue
		}
		if !strings.Contains(path+"/", "/internal/") && strings.TrimPrefix(path, module) != "/docs" {
			packages = append(packages, path)
		}
	}
	return packages
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

// The public surface is docs/api, where a change to it is seen in review. go test ./docs -update writes it anew.
func TestPublicSurface(t *testing.T) {
	known := map[string]bool{}
	for _, pkg := range publicPackages(t) {
		file := filepath.Join("api", strings.ReplaceAll(strings.TrimPrefix(pkg, module+"/"), "/", "-")+".txt")
		known[file] = true
		have := run(t, "go", "doc", "-all", pkg)
		if *update {
			if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if have != string(want) {
			t.Errorf("the surface of %s is not that of docs/%s any more: if that is meant, run go test ./docs -update, "+
				"and say it in the CHANGELOG:\n%s", pkg, file, firstDifference(string(want), have))
		}
	}
	files, err := filepath.Glob(filepath.Join("api", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[file] {
			t.Errorf("docs/%s is of no public package", file)
		}
	}
}

func firstDifference(want, have string) string {
	wants, haves := strings.Split(want, "\n"), strings.Split(have, "\n")
	for i := range max(len(wants), len(haves)) {
		if i >= len(wants) {
			return "+ " + haves[i]
		}
		if i >= len(haves) {
			return "- " + wants[i]
		}
		if wants[i] != haves[i] {
			return "- " + wants[i] + "\n+ " + haves[i]
		}
	}
	return ""
}

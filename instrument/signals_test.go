package instrument_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// literals returns the string literals of the constants and variables of a package, by the name of their type; those
// of signal.go are all there are, whatever their type.
func literals(t *testing.T, dir string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok || general.Tok != gotoken.CONST && general.Tok != gotoken.VAR {
				continue
			}
			ast.Inspect(general, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok {
					return true
				}
				typeName := ""
				if id, ok := spec.Type.(*ast.Ident); ok {
					typeName = id.Name
				}
				ast.Inspect(spec, func(n ast.Node) bool {
					if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
						value, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						found[typeName] = append(found[typeName], value)
					}
					return true
				})
				return false
			})
		}
	}
	return found
}

func signalsPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "signals.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

var ownNames = regexp.MustCompile("`((?:redial|grpc|http2)\\.[a-z0-9_.]+)`")

// docs/signals.md lists every name and every value, and no other.
func TestSignalsPage(t *testing.T) {
	page := signalsPage(t)
	names := literals(t, filepath.Join("..", "internal", "signal"))
	agents := literals(t, filepath.Join("..", "agent", "internal", "vitals"))
	known := slices.Concat(names[""], agents[""],
		[]string{"grpc.connect.dial", "grpc.connect.handshake", "grpc.connect.settings"})
	for _, name := range known {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/signals.md does not list %s", name)
		}
	}
	for _, match := range ownNames.FindAllStringSubmatch(page, -1) {
		if !slices.Contains(known, match[1]) {
			t.Errorf("docs/signals.md lists %s, which the code does not know", match[1])
		}
	}
	values := literals(t, "event")
	values["error.type"] = errorTypes(t)
	values["Fact"] = literals(t, filepath.Join("internal", "hooks", "grpcinternals"))["Fact"]
	for _, kind := range []string{"Cause", "Outcome", "Trigger", "Phase", "Fact", "error.type"} {
		if len(values[kind]) == 0 {
			t.Errorf("no values of %s found", kind)
		}
		for _, value := range values[kind] {
			if !strings.Contains(page, "`"+value+"`") {
				t.Errorf("docs/signals.md does not list the %s %s", kind, value)
			}
		}
	}
}

// errorTypes are the values of error.type: those that the package failure names.
func errorTypes(t *testing.T) (types []string) {
	t.Helper()
	oneWord := regexp.MustCompile(`^[a-z0-9_]+$|^_OTHER$`)
	for _, value := range literals(t, filepath.Join("internal", "failure"))[""] {
		if oneWord.MatchString(value) {
			types = append(types, value)
		}
	}
	return types
}

package instrument_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	grpcPackage     = "google.golang.org/grpc"
	registerPackage = "github.com/redial-dev/redial/instrument/internal/register"
)

// dependencies lists what a package is made of, in go list's format.
func dependencies(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", format, pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

// Users get into their binaries what they have anyway, gRPC and the OpenTelemetry API, and nothing else.
func TestDependencies(t *testing.T) {
	have := dependencies(t, "{{with .Module}}{{.Path}}{{end}}", "github.com/redial-dev/redial/instrument")
	slices.Sort(have)
	want := []string{
		"github.com/cespare/xxhash/v2", // Of the OpenTelemetry API, as the next two.
		"github.com/go-logr/logr",
		"github.com/go-logr/stdr",
		"github.com/redial-dev/redial",
		"go.opentelemetry.io/auto/sdk", // Of the OpenTelemetry API.
		"go.opentelemetry.io/otel",
		"go.opentelemetry.io/otel/log",
		"go.opentelemetry.io/otel/metric",
		"go.opentelemetry.io/otel/trace",
		"golang.org/x/net", // Of gRPC, as all that follow.
		"golang.org/x/sys",
		"golang.org/x/text",
		"google.golang.org/genproto/googleapis/rpc",
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
	}
	if have = slices.Compact(have); !slices.Equal(have, want) {
		t.Errorf("the modules are\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

// Package grpc must find redial's pick_first when it is initialised. Go initialises the package first whose path
// sorts first, of those whose imports are initialised: so all that package register imports must sort before package
// grpc too, or else be imported by it.
func TestRegisteredBeforeGRPC(t *testing.T) {
	if registerPackage >= grpcPackage {
		t.Errorf("%s does not sort before %s", registerPackage, grpcPackage)
	}
	ofGRPC := dependencies(t, "{{.ImportPath}}", grpcPackage)
	for _, p := range dependencies(t, "{{.ImportPath}}", registerPackage) {
		if p >= grpcPackage && !slices.Contains(ofGRPC[:len(ofGRPC)-1], p) {
			t.Errorf("%s imports %s, which may be initialised after %s", registerPackage, p, grpcPackage)
		}
	}
}

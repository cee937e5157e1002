package target_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	_ "google.golang.org/grpc" // Registers the resolvers.
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/internal/target"
)

// Users, passwords, queries and fragments are left out, and nothing else is.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"dns:///service.example:443":                        "dns:///service.example:443",
		"dns://8.8.8.8/service.example":                     "dns://8.8.8.8/service.example",
		"unix:@abstract":                                    "unix:@abstract",
		"unix:///run/a@b.sock":                              "unix:///run/a@b.sock",
		"unix:///run/s.sock?token=PW":                       "unix:///run/s.sock",
		"passthrough:///127.0.0.1:1?token=PW":               "passthrough:///127.0.0.1:1",
		"dns:///127.0.0.1:1#PW":                             "dns:///127.0.0.1:1",
		"dns:///user:PW@127.0.0.1:1":                        "dns:///***@127.0.0.1:1",
		"dns:///PW@127.0.0.1:1":                             "dns:///***@127.0.0.1:1",
		"dns:///user:P/W@127.0.0.1:1":                       "dns:///***@127.0.0.1:1",
		"dns:///http://user:PW@127.0.0.1:1/path":            "dns:///***@127.0.0.1:1/path",
		"consul://user:PW@127.0.0.1:8500/service":           "consul://***@127.0.0.1:8500/service",
		"consul://127.0.0.1:8500/service":                   "consul://127.0.0.1:8500/service",
		"user:PW@127.0.0.1:1":                               "***@127.0.0.1:1",
		"":                                                  "",
		"etcd-endpoints:///127.0.0.1:2379":                  "etcd-endpoints:///127.0.0.1:2379",
		"xds:///orders.example":                             "xds:///orders.example",
		"dns:///[2001:db8::1]:443":                          "dns:///[2001:db8::1]:443",
		"dns://user:PW@127.0.0.1/user2:PW2@host?q=PW3#PW4@": "dns://***@127.0.0.1/***@host",
	} {
		if have := target.Redact(in); have != want {
			t.Errorf("%q: %q, want %q", in, have, want)
		}
	}
}

// The secrets of a target are found, so that they can be left out of error texts, too.
func TestSecrets(t *testing.T) {
	for in, want := range map[string][]string{
		"dns:///service.example:443":              nil,
		"dns:///user:pass@127.0.0.1:1":            {"user:pass", "pass"},
		"consul://user:pass@127.0.0.1/svc?dc=eu1": {"user:pass", "dc=eu1", "user", "pass", "eu1"},
		"dns:///127.0.0.1:1#fragment":             {"fragment"},
		"unix:///run/a@b.sock?token=pass":         {"token=pass", "pass"},
		"dns:///host%3Ftoken=pass":                {"token=pass"},
		"dns:///http://user:pass@127.0.0.1/path":  {"http://user:pass", "user:pass", "pass"},
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		have := target.Secrets(resolver.Target{URL: *u})
		for _, w := range want {
			if !slices.ContainsFunc(have, func(h string) bool { return h == w || h == "//"+w }) {
				t.Errorf("%q: %q, want %q in it", in, have, w)
			}
		}
		if want == nil && have != nil {
			t.Errorf("%q: %q, want none", in, have)
		}
		if !slices.IsSortedFunc(have, func(a, b string) int { return len(b) - len(a) }) {
			t.Errorf("%q: %q, want the longest first", in, have)
		}
	}
}

// A target has one name, whatever address in memory it holds.
func TestRename(t *testing.T) {
	for in, want := range map[string]string{
		"etcd-endpoints://0xc0001d2000/127.0.0.1:2379": "etcd-endpoints:///127.0.0.1:2379",
		"etcd-endpoints:///127.0.0.1:2379":             "etcd-endpoints:///127.0.0.1:2379",
		"dns:///0xc0001d2000/a":                        "dns:///0xc0001d2000/a",
	} {
		if have := target.Rename(in); have != want {
			t.Errorf("%q: %q, want %q", in, have, want)
		}
	}
}

// The canonical forms of what was dialed are those that gRPC makes of it.
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:443":               "dns:///127.0.0.1:443",
		"localhost:443":               "dns:///localhost:443",
		"dns:localhost:443":           "dns:///localhost:443",
		"dns:///localhost:443":        "dns:///localhost:443",
		"probe:///x":                  "probe:///x",
		"passthrough:///a?token=pass": "passthrough:///a",
		"user:pass@127.0.0.1:1":       "dns:///user:pass@127.0.0.1:1",
	} {
		if have := target.Canonical(in); !slices.Contains(have, want) {
			t.Errorf("%q: %q, want %q in it", in, have, want)
		}
	}
	if have := target.Canonical("localhost:443"); !slices.Contains(have, "passthrough:///localhost:443") {
		t.Errorf("%q: want the default of grpc.Dial in it", have)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("dns:///user:hunter2@host")
	f.Fuzz(func(t *testing.T, s string) {
		clean := target.Redact(s)
		if strings.ContainsAny(clean, "?#") {
			t.Errorf("%q: %q", s, clean)
		}
		if again := target.Redact(clean); again != clean {
			t.Errorf("%q: %q, and then %q", s, clean, again)
		}
	})
}

package lastread

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Where crypto/tls keeps its errors elsewhere, or others there, nothing is concluded.
func TestTLSChanged(t *testing.T) {
	for name, change := range map[string]func(){
		"no such side":      func() { errorNames.in = "inbound" },
		"another side":      func() { errorNames.in = "out" },
		"no such error":     func() { errorNames.err = "failure" },
		"another field":     func() { errorNames.err = "version" },
		"wrapped elsewhere": func() { errorNames.wrapped = "cause" },
	} {
		t.Run(name, func(t *testing.T) {
			names := errorNames
			change()
			tlsKnown = sync.OnceValue(triesWell)
			t.Cleanup(func() { errorNames, tlsKnown = names, sync.OnceValue(triesWell) })
			c, other := net.Pipe()
			t.Cleanup(func() { _ = other.Close() }) // A pipe's Close has no error.
			if read, known := Of(tls.Client(c, &tls.Config{}), c); read != failure.ReadUnknown || known {
				t.Errorf("gRPC read %d last (known: %t)", read, known)
			}
		})
	}
}

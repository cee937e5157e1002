//go:build linux

package instrument_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument"
)

// The sockets are sampled while there are transports, and once more when one is lost.
func TestTCPMetrics(t *testing.T) {
	s := newScene(t, instrument.WithTCPMetrics(10*time.Millisecond))
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	deadline := time.Now().Add(patience)
	for s.collect()["grpc.tcp.min_rtt"] < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("not sampled: %v", s.collect())
		}
	}
	const rpcs = 10
	for range rpcs {
		mustCall(t, cc)
	}
	s.closeAll() // The last sample sees what these RPCs sent.
	metrics := s.collect()
	s.shutdown()
	if sent := metrics["grpc.tcp.packets_sent"]; sent < rpcs {
		t.Errorf("%d packets were sent with %d RPCs", sent, rpcs)
	}
	if metrics["grpc.tcp.delivery_rate"] != metrics["grpc.tcp.min_rtt"] {
		t.Errorf("samples differ: %v", metrics)
	}
}

// Without the option nothing is sampled.
func TestNoTCPMetrics(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	mustCall(t, cc)
	s.closeAll()
	for key := range s.collect() {
		if strings.HasPrefix(key, "grpc.tcp.") {
			t.Errorf("there is %s", key)
		}
	}
	s.shutdown()
}

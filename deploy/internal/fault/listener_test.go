//go:build linux

package fault_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/redial-dev/redial/deploy/internal/fault"
)

// pair listens, and returns both ends of a connection.
func pair(t *testing.T) (l *fault.Listener, near, far net.Conn) {
	t.Helper()
	l, err := fault.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	near, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return l, near, far
}

func TestReset(t *testing.T) {
	l, near, far := pair(t)
	if err := l.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer reads %v, want a reset", err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server reads %v, want that it is closed", err)
	}
	if err := l.Reset(); err != nil {
		t.Errorf("nothing is left to reset, but: %v", err)
	}
}

// While there is silence nothing arrives and nobody can connect; afterwards what was sent meanwhile arrives.
func TestSilence(t *testing.T) {
	l, near, far := pair(t)
	if err := l.Silence(true); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := far.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes arrive (%v)", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String()); err == nil {
		t.Error("somebody connects")
		_ = c.Close()
	}
	if err := l.Silence(false); err != nil {
		t.Fatal(err)
	}
	if err := far.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Errorf("after the silence: %v", err)
	}
}

// Package fault breaks the connections of a server as networks and crashes do.
package fault

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Listener listens on TCP and keeps the connections that it accepted. Its methods may be called from any goroutine.
type Listener struct {
	*net.TCPListener
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	conns map[*net.TCPConn]struct{}
}

// Listen listens on an address, host:port.
func Listen(ctx context.Context, address string) (*Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // IP_MINTTL is an option of TCP alone.
	inner, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Listener{TCPListener: inner.(*net.TCPListener), closed: make(chan struct{}),
		conns: map[*net.TCPConn]struct{}{}}, nil
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
	return conn{c, l}, nil
}

// Close implements [net.Listener].
func (l *Listener) Close() error {
	err := l.TCPListener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// Closed returns a channel that is closed when the listener is.
func (l *Listener) Closed() <-chan struct{} { return l.closed }

// Reset ends all connections with RST, as a firewall does that has forgotten them.
func (l *Listener) Reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for c := range l.conns {
		// Without lingering, Close sends RST.
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	clear(l.conns)
	return errors.Join(errs...)
}

// conn leaves its listener's record when it is closed.
type conn struct {
	*net.TCPConn
	of *Listener
}

// Close implements [net.Conn].
func (c conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c.TCPConn)
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}

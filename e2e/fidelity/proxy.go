package fidelity

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// proxy stands between clients and one backend, does what chaos asks to connections, and keeps a ledger of it. It is
// the clients' peer, of TLS too.
type proxy struct {
	backend string
	ledger  *ledger
	tls     *tls.Config // Nil where it speaks plain HTTP/2.

	address  string // Set once.
	mu       sync.Mutex
	listener net.Listener // Nil while connections are refused.
	conns    map[*pair]struct{}
	mute     bool // New connections are taken, and hear nothing.
	all      sync.WaitGroup
}

// pair is a client's connection and the backend's.
type pair struct {
	client, backend *net.TCPConn
	// plain is what the client says: its connection, or what TLS makes of that.
	plain closeWriter
}

// closeWriter is a connection whose one direction can be closed.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// ledger records what ended each connection, as the proxy knows it.
type ledger struct {
	mu     sync.Mutex
	causes map[ends][]event.Cause
}

// ends are the addresses of a client's connection.
type ends struct{ client, proxy string }

func (c *pair) ends() ends {
	return ends{c.client.RemoteAddr().String(), c.client.LocalAddr().String()}
}

func (l *ledger) note(c *pair, cause event.Cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.causes[c.ends()] = append(l.causes[c.ends()], cause)
}

func (l *ledger) of(e ends) []event.Cause {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.causes[e]
}

func newProxy(backend string, l *ledger, config *tls.Config) (*proxy, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{backend: backend, ledger: l, tls: config, address: lis.Addr().String(), conns: map[*pair]struct{}{}}
	p.take(lis)
	return p, nil
}

// accept begins to take connections, at the same address as before.
func (p *proxy) accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	lis, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.take(lis)
	return nil
}

// take takes connections from a listener. The caller holds the lock, or is alone.
func (p *proxy) take(lis net.Listener) {
	p.listener = lis
	p.all.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(c.(*net.TCPConn)) })
		}
	})
}

// refuse takes no connections any more. Those that are up stay.
func (p *proxy) refuse() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return nil
	}
	lis := p.listener
	p.listener = nil
	return lis.Close()
}

func (p *proxy) close() error {
	err := p.refuse()
	p.mu.Lock()
	for c := range p.conns {
		err = errors.Join(err, ignoreClosed(c.client.Close()), ignoreClosed(c.backend.Close()))
	}
	p.mu.Unlock()
	p.all.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// setMute makes new connections hear nothing, or ends that.
func (p *proxy) setMute(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = on
}

func (p *proxy) isMute() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

func (p *proxy) serve(client *net.TCPConn) {
	defer client.Close()
	if p.isMute() {
		_, _ = io.Copy(io.Discard, client) // Until the client gives up.
		return
	}
	conn := &pair{client: client, plain: client}
	if p.tls != nil {
		secured := tls.Server(client, p.tls)
		_ = client.SetDeadline(time.Now().Add(connectTime)) // If it fails, so does the handshake.
		if err := secured.Handshake(); err != nil {
			return // The client speaks plain HTTP/2, or gave up.
		}
		_ = client.SetDeadline(time.Time{})
		conn.plain = secured
	}
	c, err := net.Dial("tcp", p.backend)
	if err != nil {
		return // The backend is down: the client sees a connection that ends at once.
	}
	conn.backend = c.(*net.TCPConn)
	defer conn.backend.Close()
	p.mu.Lock()
	p.conns[conn] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, conn)
		p.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { // Ends when the client closes, or is reset.
		_, err := io.Copy(conn.backend, conn.plain)
		_ = conn.backend.CloseWrite() // It may be closed already.
		if err != nil {
			_, _ = io.Copy(io.Discard, client) // What is not read would make the kernel send RST.
		}
	})
	both.Go(func() {
		frames := &goAways{found: func() { p.ledger.note(conn, event.CauseGoAway) }}
		_, err := io.Copy(io.MultiWriter(frames, conn.plain), conn.backend)
		if err == nil || !errors.Is(err, net.ErrClosed) {
			p.finish(conn)
		}
	})
	both.Wait()
}

// finish says that nothing more will come, by close_notify where the client speaks TLS and by FIN where it does not,
// and reads on until the client closes too, so that no RST follows.
func (p *proxy) finish(c *pair) {
	p.ledger.note(c, event.CausePeerClosed)
	_ = c.plain.CloseWrite() // The client may have closed first.
}

// cut sends the client FIN, without a word of TLS.
func (p *proxy) cut(c *pair) {
	p.ledger.note(c, event.CausePeerClosed)
	_ = c.client.CloseWrite()
}

// stop does as a server that stops: whatever the client still sends is answered by RST.
func (p *proxy) stop(c *pair) {
	p.finish(c)
	p.cut(c)
	_ = c.client.Close()
	_ = c.backend.Close()
}

// reset sends the client RST.
func (p *proxy) reset(c *pair) {
	p.ledger.note(c, event.CauseConnectionReset)
	_ = c.client.SetLinger(0)
	_ = c.client.Close()
	_ = c.backend.Close()
}

// of returns the connection of this client's address, or nil.
func (p *proxy) of(client string) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c.ends().client == client {
			return c
		}
	}
	return nil
}

// any returns a random connection that is up, or nil.
func (p *proxy) any(random *rand.Rand) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	if n == 0 {
		return nil
	}
	n = random.IntN(n)
	for c := range p.conns {
		if n == 0 {
			return c
		}
		n--
	}
	return nil
}

// goAways finds the GOAWAY frames (RFC 9113, section 6.8) in what a server sends.
type goAways struct {
	found func()
	head  []byte
	skip  int
}

const (
	frameHeader = 9
	goAwayFrame = 7
)

// Write implements [io.Writer].
func (g *goAways) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if g.skip > 0 {
			cut := min(g.skip, len(b))
			g.skip, b = g.skip-cut, b[cut:]
			continue
		}
		cut := min(frameHeader-len(g.head), len(b))
		g.head, b = append(g.head, b[:cut]...), b[cut:]
		if len(g.head) < frameHeader {
			continue
		}
		if g.head[3] == goAwayFrame {
			g.found()
		}
		g.skip = int(binary.BigEndian.Uint32(append([]byte{0}, g.head[:3]...)))
		g.head = g.head[:0]
	}
	return n, nil
}

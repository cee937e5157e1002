package instrument_test

import (
	"context"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/instrument"
)

// dial is a dialer.
func (f *fault) dial(ctx context.Context, _ string) (net.Conn, error) {
	f.hits.Add(1)
	if f.mode == blocks {
		select {
		case <-f.released:
		case <-ctx.Done():
		}
	}
	return nil, errFault
}

func dialed(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
	return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(f.dial)}
}

// passedOn returns the option of a dialer that redial calls, where there is redial.
func passedOn(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
	dial := f.dial
	if h != nil {
		dial = h.Dialer(f.dial)
	}
	return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(dial)}
}

// conns returns the option of a dialer whose connections are faulty.
func conns(wrap func(*fault, net.Conn) net.Conn) channelOptions {
	return func(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
		return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(
			func(ctx context.Context, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				return wrap(f, c), nil
			})}
	}
}

type brokenAddr struct{ f *fault }

func (a brokenAddr) Network() string {
	_, _ = a.f.occurs()
	return ""
}

func (a brokenAddr) String() string {
	_, _ = a.f.occurs()
	return ""
}

// brokenConn is a connection of which one method is faulty.
type brokenConn struct {
	net.Conn
	f *fault
}

type textless brokenConn

func (c textless) LocalAddr() net.Addr  { return brokenAddr{c.f} }
func (c textless) RemoteAddr() net.Addr { return brokenAddr{c.f} }

type localless brokenConn

func (c localless) LocalAddr() net.Addr {
	_, _ = c.f.occurs()
	return nil
}

type remoteless brokenConn

func (c remoteless) RemoteAddr() net.Addr {
	_, _ = c.f.occurs()
	return nil
}

type unclosed brokenConn

func (c unclosed) Close() error {
	_ = c.Conn.Close()
	_, err := c.f.occurs()
	return err
}

type socketless brokenConn

func (c socketless) SyscallConn() (syscall.RawConn, error) {
	_, err := c.f.occurs()
	return nil, err
}

type timeless brokenConn

func (c timeless) SetDeadline(time.Time) error {
	_, err := c.f.occurs()
	return err
}
func (c timeless) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c timeless) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func secured(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
	return to, []grpc.DialOption{grpc.WithTransportCredentials(brokenCredentials{insecure.NewCredentials(), f})}
}

// brokenCredentials have an AuthInfo that is faulty, or fail.
type brokenCredentials struct {
	credentials.TransportCredentials
	f *fault
}

func (c brokenCredentials) Clone() credentials.TransportCredentials { return c }

func (c brokenCredentials) ClientHandshake(
	_ context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	switch c.f.mode {
	case nothing, fails:
		_, err := c.f.occurs()
		return conn, nil, err
	}
	return conn, brokenAuthInfo{c.f}, nil
}

type brokenAuthInfo struct{ f *fault }

func (i brokenAuthInfo) AuthType() string {
	_, _ = i.f.occurs()
	return ""
}

package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/instrument/event"
)

// hookCredentials makes the handshake of the channel's own credentials tell when it begins and ends.
func (s *subConn) hookCredentials(opts *balancer.NewSubConnOptions) {
	bundle := opts.CredsBundle
	if bundle == nil {
		bundle = s.policy.credsBundle
	}
	transport := s.policy.dialCreds
	if bundle != nil {
		if own := bundle.TransportCredentials(); own != nil {
			transport = own
		}
	}
	if transport == nil {
		return
	}
	opts.CredsBundle = &observedBundle{inner: bundle, transport: &observedCredentials{transport, s}}
}

// observedBy reports whether a bundle is the observer's own, below those of others.
func observedBy(o *Observer, bundle credentials.Bundle) bool {
	for {
		b, ok := bundle.(*observedBundle)
		if !ok {
			return false
		}
		if b.transport.subConn.policy.observer == o {
			return true
		}
		bundle = b.inner
	}
}

// observedBundle is the bundle that gRPC uses in place of the channel's own credentials.
type observedBundle struct {
	inner     credentials.Bundle // May be nil.
	transport *observedCredentials
}

// TransportCredentials implements [credentials.Bundle].
func (b *observedBundle) TransportCredentials() credentials.TransportCredentials { return b.transport }

// PerRPCCredentials implements [credentials.Bundle].
func (b *observedBundle) PerRPCCredentials() credentials.PerRPCCredentials {
	if b.inner == nil {
		return nil
	}
	return b.inner.PerRPCCredentials()
}

// NewWithMode implements [credentials.Bundle].
func (b *observedBundle) NewWithMode(mode string) (credentials.Bundle, error) {
	if b.inner == nil {
		return b, nil
	}
	return b.inner.NewWithMode(mode)
}

type observedCredentials struct {
	credentials.TransportCredentials
	subConn *subConn
}

// Clone implements [credentials.TransportCredentials].
func (c *observedCredentials) Clone() credentials.TransportCredentials {
	return &observedCredentials{c.TransportCredentials.Clone(), c.subConn}
}

// ClientHandshake implements [credentials.TransportCredentials].
func (c *observedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	s := c.subConn
	s.do(func(at time.Time) { s.life.HandshakeStart(at, describe(raw)) })
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	s.do(func(at time.Time) { s.life.HandshakeEnd(at, describeTLS(info), err) })
	if err == nil {
		s.policy.observer.conns.shake(s, conn, raw)
	}
	return conn, info, err
}

func describe(conn net.Conn) (c event.Conn) {
	if local := conn.LocalAddr(); local != nil {
		c.Network, c.Local = local.Network(), local.String()
	}
	if remote := conn.RemoteAddr(); remote != nil {
		c.Remote = remote.String()
	}
	return c
}

// handshakeInfo returns the address attributes that gRPC gives to dialers and handshakes.
func handshakeInfo(ctx context.Context) *attributes.Attributes {
	return credentials.ClientHandshakeInfoFromContext(ctx).Attributes
}

func describeTLS(info credentials.AuthInfo) *event.TLS {
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	state := tlsInfo.State
	t := &event.TLS{
		Version: tlsVersion(state.Version),
		Cipher:  tls.CipherSuiteName(state.CipherSuite),
		Resumed: state.DidResume,
	}
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		t.ServerSubject, t.ServerNotAfter = leaf.Subject.String(), leaf.NotAfter
	}
	return t
}

// tlsVersion is the version as the semantic conventions write it.
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return tls.VersionName(v)
}

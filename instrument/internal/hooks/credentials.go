package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"context"
	"net"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// hookCredentials makes that the handshakes of the channel's own credentials are seen.
func (p *policyConn) hookCredentials(s *record.Subchannel, opts *balancer.NewSubConnOptions) {
	bundle := opts.CredsBundle
	if bundle == nil {
		bundle = p.credsBundle
	}
	transport := p.dialCreds
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
func observedBy(o *record.Observer, bundle credentials.Bundle) bool {
	for {
		b, ok := bundle.(*observedBundle)
		if !ok {
			return false
		}
		if b.transport.subchannel.Policy().Observer() == o {
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
	subchannel *record.Subchannel
}

// Clone implements [credentials.TransportCredentials].
func (c *observedCredentials) Clone() credentials.TransportCredentials {
	return &observedCredentials{c.TransportCredentials.Clone(), c.subchannel}
}

// ClientHandshake implements [credentials.TransportCredentials].
func (c *observedCredentials) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	s := c.subchannel
	hook := s.Policy().Guard()
	hook.Run(func() {
		deadline, _ := ctx.Deadline()
		s.HandshakeStarted(credentials.ClientHandshakeInfoFromContext(ctx).Attributes, raw, deadline)
	})
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	hook.Run(func() { s.HandshakeEnded(conn, raw, info, err) })
	return conn, info, err
}

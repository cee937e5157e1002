package hooks

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// Dial is one call of a dialer that reports each address.
type Dial struct{ subchannel *record.Subchannel }

// StartDial records that the dialer is called with an address. A call with a context that is not gRPC's is not
// recorded.
func StartDial(ctx context.Context, o *record.Observer, address string) Dial {
	return guard.Value(o.Guard(), Dial{}, func() Dial {
		with := credentials.ClientHandshakeInfoFromContext(ctx).Attributes
		s, ok := with.Value(addressKey{o}).(*record.Subchannel)
		if !ok {
			return Dial{}
		}
		s.DialStarted(with, address)
		return Dial{s}
	})
}

// Attempt records that the dialer tries an address.
func (d Dial) Attempt(address string) {
	if s := d.subchannel; s != nil {
		s.Policy().Guard().Run(func() { s.DialAttempted(address) })
	}
}

// Proxied records that the dialer goes through a proxy.
func (d Dial) Proxied(proxy string) {
	if s := d.subchannel; s != nil {
		s.Policy().Guard().Run(func() { s.DialProxied(proxy) })
	}
}

// End records what the dialer returned.
func (d Dial) End(conn net.Conn, err error) {
	if s := d.subchannel; s != nil {
		s.Policy().Guard().Run(func() { s.DialEnded(conn, err) })
	}
}

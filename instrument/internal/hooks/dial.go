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

// StartDial records that the dialer is called. A call with a context that is not gRPC's is not recorded.
func StartDial(ctx context.Context, o *record.Observer) Dial {
	return guard.Value(o.Guard(), Dial{}, func() Dial {
		s, ok := credentials.ClientHandshakeInfoFromContext(ctx).Attributes.Value(addressKey{o}).(*record.Subchannel)
		if !ok {
			return Dial{}
		}
		s.DialStarted()
		return Dial{s}
	})
}

// Attempt records that the dialer tries an address.
func (d Dial) Attempt(address string) {
	if s := d.subchannel; s != nil {
		s.Policy().Guard().Run(func() { s.DialAttempted(address) })
	}
}

// End records what the dialer returned.
func (d Dial) End(conn net.Conn, err error) {
	if s := d.subchannel; s != nil {
		s.Policy().Guard().Run(func() { s.DialEnded(conn, err) })
	}
}

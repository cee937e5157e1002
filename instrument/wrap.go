package instrument

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/hooks"
	_ "github.com/redial-dev/redial/instrument/internal/register" // Observes pick_first, and so all policies made of it.
)

// resolvers are the schemes that grpc-go registers by itself, and xds, which a program may import.
var resolvers = []string{"dns", "passthrough", "unix", "unix-abstract", "xds"}

func init() {
	for _, scheme := range resolvers {
		if b := resolver.Get(scheme); b != nil {
			resolver.Register(WrapResolver(b))
		}
	}
}

// WrapBalancer returns a builder of the same policy that is observed in channels with a [Handler]. It is for policies
// that call NewSubConn themselves, as those made with google.golang.org/grpc/balancer/base; policies that are made of
// pick_first, as grpc-go's own, need no wrapping. Each subchannel of the policy counts as an endpoint.
//
//	func init() { balancer.Register(instrument.WrapBalancer(myBuilder{})) }
func WrapBalancer(b balancer.Builder) balancer.Builder { return hooks.WrapPolicy(b) }

// WrapResolver returns a builder of the same resolver that is observed in channels with a [Handler]. The resolvers of
// grpc-go (dns, passthrough, unix, and xds where it was imported before this package) need no wrapping. Of a resolver
// that is not wrapped the answers are recorded, and not how long they took.
//
//	grpc.WithResolvers(instrument.WrapResolver(myBuilder))
func WrapResolver(b resolver.Builder) resolver.Builder { return hooks.WrapResolver(b) }

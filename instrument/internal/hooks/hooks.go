// Package hooks knows grpc-go: it wraps what grpc-go lets one wrap (load balancing policies, pickers, SubConns,
// credentials, name resolvers), and takes what it reports to a stats.Handler. A wrapper passes on every call as it
// came, and adds to the record of the channel (package record) what it saw.
//
// Wrapped is only what belongs to a channel that is observed, and nothing that a wrapper returns behaves otherwise
// than what it wraps: no net.Conn, SubConn, pick, address or credential is changed.
//
// From the leaves up, each package knows only those before it:
//
//	guard, tcpinfo, grpcinternals   what panics; what the kernel knows; what gRPC does not promise
//	table                           what hooks look up
//	record                          what is known of each channel
//	hooks                           the wrappers
//
// All of them must be initialised before google.golang.org/grpc (see package register), and hence must not import it,
// nor anything that package grpc does not import itself.
package hooks

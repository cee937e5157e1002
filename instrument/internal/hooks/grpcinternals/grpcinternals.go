// Package grpcinternals holds what redial knows of grpc-go, and of Go, that neither promises, a file for each fact.
// Each says which versions it was tried on, and is checked when it is used. Where it does not hold, what it would have
// said is not known: nothing is guessed, and who asked reports the [Fact].
//
// The names that redial looks for are variables: the tests break each of them.
package grpcinternals

import "google.golang.org/grpc/status"

// Fact is something that redial knows of gRPC or Go. It is a value of the attribute redial.internals.fact.
type Fact string

// All facts.
const (
	// Goroutines: stack traces say which transport a goroutine of gRPC serves.
	Goroutines Fact = "goroutines"
	// Connections: gRPC reports the begin of a connection with the connection's own address, in the goroutine that did the
	// handshake.
	Connections Fact = "connections"
	// ChannelRecord: gRPC's own record of a channel has its id and state.
	ChannelRecord Fact = "channel_record"
	// Recorders: a channel has one metrics recorder, which it shares with no other.
	Recorders Fact = "recorders"
	// SubConnNames: the text of a SubConn has its id.
	SubConnNames Fact = "subconn_names"
	// ProxiedServers: the attributes of a proxy's address have the server behind it.
	ProxiedServers Fact = "proxied_servers"
	// Disconnections: gRPC counts each loss of a transport, with its reason.
	Disconnections Fact = "disconnections"
	// RPCErrors: the texts of gRPC's own errors.
	RPCErrors Fact = "rpc_errors"
	// StreamWaits: gRPC asks for an RPC's Done channel when the RPC waits for a stream.
	StreamWaits Fact = "stream_waits"
	// InitOrder: package grpc is initialised after redial has registered its pick_first.
	InitOrder Fact = "init_order"
	// TLSErrors: crypto/tls keeps the error that ended the reading from a connection.
	TLSErrors Fact = "tls_errors"
)

var unknown = map[Fact]string{
	Goroutines:     "the cause of a loss is unknown where no RPC died of it",
	Connections:    "transports have no socket, and the cause of their loss is unknown where no RPC died of it",
	ChannelRecord:  "channels have no id and state, and causes on the client's side are unknown",
	Recorders:      "channels are not observed",
	SubConnNames:   "subchannels have no id",
	ProxiedServers: "servers behind a proxy may have the proxy's address",
	Disconnections: "the cause of a loss is unknown where no RPC died of it",
	RPCErrors:      "RPCs that die with their transport may not be counted, and causes that only they name are unknown",
	StreamWaits:    "RPCs that wait for a stream are not seen",
	InitOrder:      "channels without a service config are not observed",
	TLSErrors:      "whether a connection of TLS was closed or broken is unknown",
}

// Unknown returns what is not known where the fact does not hold.
func (f Fact) Unknown() string { return unknown[f] }

// FailedAtStart returns the facts of which it is plain, once package grpc is initialised, that they do not hold. It
// takes what package grpc ends the RPCs of a closed channel with.
func FailedAtStart(closing error) (failed []Fact) {
	if RegisteredLate {
		failed = append(failed, InitOrder)
	}
	if !disconnectionsCounted() {
		failed = append(failed, Disconnections)
	}
	if !IsChannelClose(status.Convert(closing).Message()) {
		failed = append(failed, RPCErrors)
	}
	return failed
}

// grpcPackage is where the types of a channel are.
const grpcPackage = "google.golang.org/grpc"

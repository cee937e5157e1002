// Package snapshot describes what the channels of a handler are doing now: channels, their endpoints, and the
// subchannels of these. The names in JSON are those that gRPC and docs/signals.md use.
package snapshot

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Channel is one grpc.ClientConn.
type Channel struct {
	// ID is the channelz id, or zero while it is not known.
	ID     int64  `json:"id"`
	Target string `json:"target"`
	// State is the channel's connectivity state, and Since when it was first seen.
	State event.State `json:"state"`
	Since time.Time   `json:"since"`
	// Resolver is nil before it was asked.
	Resolver *Resolver `json:"resolver,omitempty"`
	// Waiting counts the RPCs that wait for a transport now.
	Waiting   int        `json:"rpcs_waiting"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Resolver is a channel's name resolver.
type Resolver struct {
	// Since is when it was first asked, where it has not answered yet, and Answered when it last did. One of them is nil.
	Since    *time.Time `json:"resolving_since,omitempty"`
	Answered *time.Time `json:"answered,omitempty"`
	// Addresses counts those of the last answer, whose failure is Error, and ErrorType its class.
	Addresses int    `json:"addresses"`
	Error     string `json:"error,omitempty"`
	ErrorType string `json:"error_type,omitempty"`
}

// Endpoint is what a person calls a connection: one pick_first instance, or one subchannel of a policy that makes them
// itself.
type Endpoint struct {
	ID    event.ID    `json:"id"`
	State event.State `json:"state"`
	// Stalled is since when nothing is acknowledged on the transport in use, which gRPC still takes for READY, or nil.
	Stalled *time.Time `json:"stalled_since,omitempty"`
	// Episode is the connecting that goes on, or nil.
	Episode *Episode `json:"episode,omitempty"`
	// Lost is the last loss of a transport whose record is complete, or nil.
	Lost *Loss `json:"lost,omitempty"`
	// Error is the failure that keeps the endpoint from being READY, or its READY transport from getting RPCs, or empty,
	// and ErrorType its class.
	Error       string       `json:"error,omitempty"`
	ErrorType   string       `json:"error_type,omitempty"`
	Subchannels []Subchannel `json:"subchannels"`
}

// Episode is the time that an endpoint takes to become READY.
type Episode struct {
	Trigger event.Trigger `json:"trigger"`
	Since   time.Time     `json:"since"`
	// Attempts counts those of the episode so far, to any address, and Waited the RPCs that waited for it.
	Attempts int `json:"attempts"`
	Waited   int `json:"rpcs_waited"`
}

// Loss is the end of a transport.
type Loss struct {
	Time            time.Time   `json:"time"`
	Cause           event.Cause `json:"cause"`
	DisconnectError string      `json:"disconnect_error,omitempty"`
	Interrupted     int64       `json:"rpcs_interrupted"`
}

// Subchannel is one gRPC subchannel (a balancer.SubConn).
type Subchannel struct {
	// ID is the channelz id.
	ID int64 `json:"id"`
	// Address is that of the server; of several the one that is connected or being tried, as far as that is known, and
	// else the first.
	Address string `json:"address"`
	// Proxy is the address of the HTTP CONNECT proxy that leads to the server, or empty.
	Proxy string `json:"proxy,omitempty"`
	// State is the connectivity state that gRPC reported to its policy, and Since when.
	State event.State `json:"state"`
	Since time.Time   `json:"since"`
	// Attempt is the number of the attempt that goes on, counted within the episode, or zero.
	Attempt int `json:"attempt,omitempty"`
	// NextAttempt is when gRPC tries again at the earliest, where the subchannel backs off: gRPC does not reveal the
	// time that it drew.
	NextAttempt *time.Time `json:"next_attempt_not_before,omitempty"`
	// Local and Remote are the ends of the transport that is up, or empty.
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	// Stalled is since when nothing is acknowledged on that transport, or nil.
	Stalled *time.Time `json:"stalled_since,omitempty"`
	// InFlight counts the RPCs on that transport, and RPCs those that were ever sent over it.
	InFlight int64 `json:"rpcs_in_flight"`
	RPCs     int64 `json:"rpcs"`
}

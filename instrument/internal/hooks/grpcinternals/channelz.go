package grpcinternals

import (
	"reflect"
	"sync/atomic"

	"google.golang.org/grpc/connectivity"
)

// Channelz is gRPC's own record of a channel. The type is internal to gRPC, its fields are exported: they are read by
// reflection, and where a version of gRPC has none of them the channel goes without id and state.
type Channelz struct {
	// ID is what channelz and the log of gRPC show; zero if it is not known.
	ID    int64
	state *atomic.Pointer[connectivity.State]
}

// ReadChannelz reads the ChannelzParent of a balancer's BuildOptions, which is the same for all balancers of a channel.
func ReadChannelz(parent any) (z Channelz) {
	v := reflect.ValueOf(parent)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return z
	}
	if id := v.Elem().FieldByName("ID"); id.IsValid() && id.CanInt() {
		z.ID = id.Int()
	}
	metrics := v.Elem().FieldByName("ChannelMetrics")
	if !metrics.IsValid() || metrics.Kind() != reflect.Struct {
		return z
	}
	if state := metrics.FieldByName("State"); state.IsValid() && state.CanAddr() && state.CanInterface() {
		z.state, _ = state.Addr().Interface().(*atomic.Pointer[connectivity.State])
	}
	return z
}

// State returns the channel's state now, and whether it is known.
func (z Channelz) State() (s connectivity.State, known bool) {
	if z.state == nil {
		return 0, false
	}
	state := z.state.Load()
	if state == nil {
		return 0, false
	}
	return *state, true
}

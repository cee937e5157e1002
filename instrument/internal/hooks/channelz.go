package hooks

import (
	"reflect"
	"sync/atomic"

	"google.golang.org/grpc/connectivity"

	"github.com/redial-dev/redial/instrument/event"
)

// channelz is grpc's own record of a channel. The type is internal to grpc, its fields are exported: they are read
// by reflection, and where a later version of grpc has none of them the channel goes without id and state.
type channelz struct {
	id      int64
	current *atomic.Pointer[connectivity.State]
}

func readChannelz(identifier any) (z channelz) {
	v := reflect.ValueOf(identifier)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return z
	}
	if id := v.Elem().FieldByName("ID"); id.IsValid() && id.CanInt() {
		z.id = id.Int()
	}
	metrics := v.Elem().FieldByName("ChannelMetrics")
	if !metrics.IsValid() || metrics.Kind() != reflect.Struct {
		return z
	}
	if state := metrics.FieldByName("State"); state.IsValid() && state.CanAddr() && state.CanInterface() {
		z.current, _ = state.Addr().Interface().(*atomic.Pointer[connectivity.State])
	}
	return z
}

func (z channelz) known() bool { return z.id != 0 }

func (z channelz) state() (event.State, bool) {
	if z.current == nil {
		return "", false
	}
	s := z.current.Load()
	if s == nil {
		return "", false
	}
	return stateOf(*s), true
}

// stateOf names a connectivity state.
func stateOf(s connectivity.State) event.State {
	switch s {
	case connectivity.Idle:
		return event.StateIdle
	case connectivity.Connecting:
		return event.StateConnecting
	case connectivity.Ready:
		return event.StateReady
	case connectivity.TransientFailure:
		return event.StateTransientFailure
	default:
		return event.StateShutdown
	}
}

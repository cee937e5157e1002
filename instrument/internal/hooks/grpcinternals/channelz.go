package grpcinternals

import (
	"reflect"
	"sync/atomic"
	"unsafe"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// ChannelNames are the fields of gRPC's own record of a channel, which is a struct of its package channelz, and those
// that lead to it from a resolver's ClientConn and from a *grpc.ClientConn. They are read by reflection.
//
// A channel has its id for good. Its state is stored before a resolver is built, and is CONNECTING then; SHUTDOWN and
// IDLE are stored before the channel closes its policies and resolvers, or just after.
//
// Tried on grpc-go 1.84 and 1.85.
var ChannelNames = struct{ ID, Metrics, State, ClientConn, Record string }{
	ID: "ID", Metrics: "ChannelMetrics", State: "State", ClientConn: "cc", Record: "channelz",
}

// Channelz is gRPC's own record of a channel.
type Channelz struct {
	// ID is what channelz and the log of gRPC show; zero if it is not known.
	ID    int64
	state *atomic.Pointer[connectivity.State]
}

// Known reports whether the record has an id and a state.
func (z Channelz) Known() bool {
	_, known := z.State()
	return z.ID > 0 && known
}

// State returns the channel's state now, and whether it is known.
func (z Channelz) State() (s connectivity.State, known bool) {
	if z.state == nil {
		return 0, false
	}
	state := z.state.Load()
	if state == nil || *state < connectivity.Idle || *state > connectivity.Shutdown {
		return 0, false
	}
	return *state, true
}

// WithoutState returns the record with its state not known.
func (z Channelz) WithoutState() Channelz { return Channelz{ID: z.ID} }

// ReadChannelz reads the ChannelzParent of a balancer's BuildOptions, which is the same for all balancers of a channel.
// It has to be known unless there is none.
func ReadChannelz(parent any) (z Channelz) {
	v := reflect.ValueOf(parent)
	if id := field(v, ChannelNames.ID); id.IsValid() && id.CanInt() {
		z.ID = id.Int()
	}
	metrics := field(v, ChannelNames.Metrics)
	if !metrics.IsValid() || metrics.Kind() != reflect.Struct {
		return z
	}
	if state := metrics.FieldByName(ChannelNames.State); state.IsValid() && state.CanAddr() && state.CanInterface() {
		z.state, _ = state.Addr().Interface().(*atomic.Pointer[connectivity.State])
	}
	return z
}

// ChannelzOf returns gRPC's own record of the channel that a resolver's ClientConn belongs to, unless that is not
// gRPC's own ClientConn: some resolvers stand between another and the channel. gRPC gives the record to balancers, but
// they come later, or never where no name resolves.
func ChannelzOf(conn resolver.ClientConn) (z Channelz, grpcsOwn bool) {
	return channelzOf(field(reflect.ValueOf(conn), ChannelNames.ClientConn)), isOfGRPC(conn)
}

// ChannelzOfClientConn returns gRPC's own record of a *grpc.ClientConn, unless it is something else.
func ChannelzOfClientConn(cc any) (z Channelz, grpcsOwn bool) {
	return channelzOf(reflect.ValueOf(cc)), isOfGRPC(cc)
}

func channelzOf(cc reflect.Value) Channelz {
	z := field(cc, ChannelNames.Record)
	if z.Kind() != reflect.Pointer || !z.CanAddr() {
		return Channelz{}
	}
	// The field is not exported, and so is not given out by reflection. It is set before the channel exists for others.
	return ReadChannelz(reflect.NewAt(z.Type(), unsafe.Pointer(z.UnsafeAddr())).Elem().Interface())
}

// field returns the field of the struct that a pointer points to, or the zero Value.
func field(pointer reflect.Value, name string) reflect.Value {
	if pointer.Kind() != reflect.Pointer || pointer.IsNil() || pointer.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return pointer.Elem().FieldByName(name)
}

// isOfGRPC reports whether a value is a pointer to a type of package grpc.
func isOfGRPC(v any) bool {
	t := reflect.TypeOf(v)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == grpcPackage
}

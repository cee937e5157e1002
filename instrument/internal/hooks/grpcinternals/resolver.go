package grpcinternals

import (
	"reflect"
	"unsafe"

	"google.golang.org/grpc/resolver"
)

// ChannelzOf returns gRPC's own record of the channel that a resolver's ClientConn belongs to, which is nothing where a
// version of gRPC keeps it elsewhere. gRPC gives it to balancers, but they come later, or never where no name resolves.
func ChannelzOf(conn resolver.ClientConn) Channelz {
	return channelzOf(field(reflect.ValueOf(conn), "cc"))
}

// ChannelzOfClientConn returns gRPC's own record of a *grpc.ClientConn.
func ChannelzOfClientConn(cc any) Channelz { return channelzOf(reflect.ValueOf(cc)) }

func channelzOf(cc reflect.Value) Channelz {
	z := field(cc, "channelz")
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

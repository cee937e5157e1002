package grpcinternals

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/grpc/balancer"
)

// SubConnName is how gRPC's own SubConn writes itself, around its channelz id. A SubConn of a policy that stands
// between another and gRPC embeds one, which gRPC demands, and writes itself as it likes.
//
// Tried on grpc-go 1.84 and 1.85.
var SubConnName = struct{ Before, After string }{"SubConn(id:", ")"}

// maxWrapped bounds how many SubConns are looked for within each other.
const maxWrapped = 8

// SubConnID returns a SubConn's channelz id. It is zero for a SubConn that is not gRPC's and embeds none that is; it
// has to be known otherwise.
func SubConnID(sc balancer.SubConn) (id int64, grpcsOwn bool) {
	for range maxWrapped {
		if isOfGRPC(sc) {
			named, ok := sc.(fmt.Stringer)
			if !ok {
				return 0, true
			}
			return idOf(named.String()), true
		}
		inner := embedded(sc)
		if inner == nil {
			return 0, false
		}
		sc = inner
	}
	return 0, false
}

// embedded returns the SubConn that another embeds, or nil.
func embedded(sc balancer.SubConn) balancer.SubConn {
	wrapper := reflect.Indirect(reflect.ValueOf(sc))
	if wrapper.Kind() != reflect.Struct {
		return nil
	}
	field, ok := wrapper.Type().FieldByName("SubConn")
	if !ok {
		return nil
	}
	value, err := wrapper.FieldByIndexErr(field.Index) // An embedded pointer may be nil.
	if err != nil || !value.CanInterface() {
		return nil
	}
	inner, _ := value.Interface().(balancer.SubConn)
	return inner
}

func idOf(name string) int64 {
	name, begins := strings.CutPrefix(name, SubConnName.Before)
	name, ends := strings.CutSuffix(name, SubConnName.After)
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil || !begins || !ends {
		return 0
	}
	return id
}

package grpcinternals

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/grpc/balancer"
)

// SubConnName is how gRPC's own SubConn writes itself, around its channelz id. A SubConn of a policy that stands between
// another and gRPC embeds one, which gRPC demands, and writes itself as it likes.
//
// Tried on grpc-go 1.84 and 1.85.
var SubConnName = struct{ Before, After string }{"SubConn(id:", ")"}

// maxWrapped bounds how many SubConns are looked for within each other.
const maxWrapped = 8

// SubConnID returns a SubConn's channelz id. It is zero for a SubConn that is not gRPC's and embeds none that is; it has
// to be known otherwise.
func SubConnID(sc balancer.SubConn) (id int64, grpcsOwn bool) {
	for range maxWrapped {
		if isOfGRPC(sc) {
			named, ok := sc.(fmt.Stringer)
			if !ok {
				return 0, true
			}
			return idOf(named.String()), true
		}
		embedded := field(reflect.ValueOf(sc), "SubConn")
		if !embedded.IsValid() || !embedded.CanInterface() {
			return 0, false
		}
		inner, ok := embedded.Interface().(balancer.SubConn)
		if !ok {
			return 0, false
		}
		sc = inner
	}
	return 0, false
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

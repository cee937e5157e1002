package grpcinternals_test

import (
	"testing"

	"google.golang.org/grpc/balancer"

	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
)

// named is a SubConn that writes itself as gRPC's own, or as a policy likes.
type named struct {
	balancer.SubConn
	name string
}

func (n *named) String() string { return n.name }

// hollow is a SubConn that embeds one by way of a pointer that is nil.
type hollow struct{ *named }

// endless is a SubConn that embeds itself.
func endless() balancer.SubConn {
	n := &named{name: "SubConn(id:7)"}
	n.SubConn = n
	return n
}

// The text of a SubConn that is not gRPC's own says nothing: outlier_detection's has all addresses.
func TestForeignSubConn(t *testing.T) {
	for _, sc := range []balancer.SubConn{
		nil, &named{name: `{Addr: "id:12"}`}, &named{name: "SubConn(id:7)"}, endless(), hollow{},
	} {
		if id, grpcsOwn := grpcinternals.SubConnID(sc); id != 0 || grpcsOwn {
			t.Errorf("the id of a %T is %d", sc, id)
		}
	}
}

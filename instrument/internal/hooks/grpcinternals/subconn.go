package grpcinternals

import (
	"regexp"
	"strconv"

	"google.golang.org/grpc/balancer"
)

var subConnID = regexp.MustCompile(`id:(\d+)`)

// SubConnID returns a SubConn's channelz id, which its String shows as "SubConn(id:12)", or zero if it is not known.
func SubConnID(sc balancer.SubConn) int64 {
	named, ok := sc.(interface{ String() string })
	if !ok {
		return 0
	}
	digits := subConnID.FindStringSubmatch(named.String())
	if digits == nil {
		return 0
	}
	id, err := strconv.ParseInt(digits[1], 10, 64)
	if err != nil {
		return 0
	}
	return id
}

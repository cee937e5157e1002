package causes

import (
	"testing"
	"time"

	"google.golang.org/grpc/resolver/dns"

	"github.com/redial-dev/redial/instrument/event"
)

// gRPC's dns resolver puts a lookup off when the one before was a moment ago. The time until its answer is no time of
// the name server's, and is not measured; the first lookup is.
func TestThrottleIsNoLookup(t *testing.T) {
	t.Parallel()
	if !isChild(t) { // The interval is that of a whole process.
		runChild(t)
		return
	}
	dns.SetMinResolutionInterval(time.Second)
	env := newEnvironment(t)
	cc := env.client("dns://" + slowNameServer(t) + "/service.test:1") // Nobody listens: gRPC asks for the name again.
	cc.Connect()
	first := await(env, func(event.Resolved) bool { return true })
	second := await(env, func(e event.Resolved) bool { return e.Time.After(first.Time) })
	if took := first.Time.Sub(first.Start); took < held {
		t.Errorf("%s: the name server took %v", first, held)
	}
	if second.Measured() {
		t.Errorf("%s, of which it is not known when the lookup began", second)
	}
}

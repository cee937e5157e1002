package retry_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redial-dev/redial/internal/retry"
)

// An export that may succeed later is tried for five minutes, after waits of ten seconds at most; another one once.
func TestDo(t *testing.T) {
	throttled, err := status.New(codes.ResourceExhausted, "slow down").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err         error
		least, most int           // Tries.
		wait        time.Duration // The longest.
	}{
		"no server":   {&url.Error{Err: errors.New("refused")}, 20, 60, 20 * time.Second},
		"unavailable": {status.Error(codes.Unavailable, "no connection"), 20, 60, 20 * time.Second},
		"busy":        {errors.New("max retry time elapsed: retry-able request failure"), 20, 60, 20 * time.Second},
		"asks for long": {
			errors.New("max retry time would elapse: retry-able request failure"), 10, 11, 30 * time.Second,
		},
		"asks by gRPC":  {throttled.Err(), 5, 6, time.Minute},
		"exhausted":     {status.Error(codes.ResourceExhausted, "too large"), 1, 1, 0},
		"unimplemented": {status.Error(codes.Unimplemented, "unknown service"), 1, 1, 0},
		"not found":     {errors.New("failed to send: 404 Not Found"), 1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, noted, last, longest, begin := 0, 0, time.Now(), time.Duration(0), time.Now()
				ctx := retry.WithNote(t.Context(), func(error) { noted++ })
				err := retry.Do(ctx, func() error {
					longest, last = max(longest, time.Since(last)), time.Now()
					tries++
					return c.err
				})
				if !errors.Is(err, c.err) {
					t.Errorf("returned %v, want %v", err, c.err)
				}
				if tries < c.least || tries > c.most || longest > c.wait || time.Since(begin) > retry.For {
					t.Errorf("%d tries in %v with a wait of %v, want %d to %d and %v",
						tries, time.Since(begin), longest, c.least, c.most, c.wait)
				}
				if again := c.most > 1; again != (noted > 0) {
					t.Errorf("%d tries were noted", noted)
				}
			})
		})
	}
}

// The end of the context ends an export at once.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin, want := time.Now(), status.Error(codes.Unavailable, "no connection")
		if err := retry.Do(ctx, func() error { return want }); !errors.Is(err, want) {
			t.Errorf("returned %v, want %v", err, want)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

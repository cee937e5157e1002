// Package retry tries an export to an OTLP collector again, for as long as that may help.
package retry

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// For is how long one export is tried.
	For = 5 * time.Minute
	// Official is how long the official exporters over HTTP try by themselves: only they read the header Retry-After.
	Official = 5 * time.Second
	// First and Longest are the first and the longest wait between two tries, each of which is made shorter or longer
	// by up to a half at random.
	First   = time.Second
	Longest = 10 * time.Second
	// throttled is the wait after a collector asked for a longer one than the official exporter would grant.
	throttled = 30 * time.Second
)

type noteKey struct{}

// WithNote returns a context with which [Do] calls note for each try that failed and is followed by another.
func WithNote(ctx context.Context, note func(error)) context.Context {
	return context.WithValue(ctx, noteKey{}, note)
}

// Do calls export until it succeeds, fails for good, or the time is up. It returns the last error of export.
func Do(ctx context.Context, export func() error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = First, Longest
	note, _ := ctx.Value(noteKey{}).(func(error))
	if note == nil {
		note = func(error) {}
	}
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = export()
		again, after := temporary(last)
		switch {
		case last == nil:
			return struct{}{}, nil
		case !again:
			return struct{}{}, backoff.Permanent(last)
		}
		note(last)
		if after > 0 {
			return struct{}{}, &backoff.RetryAfterError{Duration: after}
		}
		return struct{}{}, last
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(For))
	if err != nil && last != nil {
		return last
	}
	return err
}

// temporary reports whether an export that failed may succeed later, and the wait that the collector asked for. The
// rules are those of the OTLP specification, and of a server that does not answer at all.
func temporary(err error) (again bool, after time.Duration) {
	if err == nil {
		return false, 0
	}
	if unanswered := new(url.Error); errors.As(err, &unanswered) {
		return true, 0
	}
	// The official exporters over HTTP export no type for an answer after which to try again.
	if text := err.Error(); strings.Contains(text, "retry-able request failure") {
		if strings.Contains(text, "max retry time would elapse") {
			return true, throttled
		}
		return true, 0
	}
	s, ok := status.FromError(err)
	if !ok {
		return false, 0
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			again, after = true, info.GetRetryDelay().AsDuration()
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return true, after
	case codes.ResourceExhausted:
		return again, after
	}
	return false, 0
}

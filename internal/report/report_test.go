package report_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redial-dev/redial/internal/report"
)

// A fault that comes back is reported once a minute, with a count, and does not silence another one.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var have []error
		l := report.New(func(err error) { have = append(have, err) })
		fault := errors.New("a sink panicked")
		for range 1000 {
			l.Report("sink", fault)
		}
		l.Report("listener", errors.New("no file"))
		time.Sleep(report.Every)
		l.Report("sink", fault)
		if len(have) != 3 || !errors.Is(have[2], fault) {
			t.Fatalf("reported: %v, want one of each kind and one after a minute", have)
		}
		if want := "a sink panicked (and 999 more of this kind since the last report)"; have[2].Error() != want {
			t.Errorf("%q, want %q", have[2], want)
		}
		if strings.Contains(have[0].Error(), "more") {
			t.Errorf("the first report has a count: %v", have[0])
		}
	})
}

package guard_test

import (
	"strings"
	"testing"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/internal/report"
)

// evil panics when it is printed.
type evil struct{}

func (evil) Error() string { panic("and again") }

// A panic ends the function, is reported with its place, and the result is what passes through.
func TestPanic(t *testing.T) {
	var have []string
	g := guard.New("a part of the test panicked", report.New(func(err error) { have = append(have, err.Error()) }))
	if n := guard.Value(g, 7, func() int { panic("a fault") }); n != 7 {
		t.Errorf("the result is %d, want 7", n)
	}
	g.Run(func() { panic(evil{}) })
	g.Run(func() {
		var nothing *struct{ n int }
		nothing.n++
	})
	for i, want := range []string{"a fault", "PANIC", "nil pointer"} {
		if i >= len(have) || !strings.Contains(have[i], "a part of the test panicked") ||
			!strings.Contains(have[i], want) || !strings.Contains(have[i], "guard_test.TestPanic") {
			t.Errorf("reported %q", have)
		}
	}
}

// A guard that is closed runs nothing.
func TestClosed(t *testing.T) {
	g := guard.New("", report.New(func(error) {}))
	if n := guard.Value(g, 1, func() int { return 2 }); n != 2 {
		t.Errorf("the result is %d, want 2", n)
	}
	if !g.Close() || g.Close() || !g.Closed() {
		t.Error("a guard is not closed once")
	}
	if n := guard.Value(g, 1, func() int { return 2 }); n != 1 {
		t.Errorf("the result is %d, want 1", n)
	}
	g.Run(func() { t.Error("a closed guard runs a function") })
}

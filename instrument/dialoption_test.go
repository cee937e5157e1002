package instrument_test

import (
	"runtime"
	"testing"

	"github.com/redial-dev/redial/instrument"
)

// TestOptionAtEachDial holds that a program may ask for the option at each dial: each had a handler of its own, of 8 KB
// and with a callback at each collection, for good.
func TestOptionAtEachDial(t *testing.T) {
	instrument.DialOption()
	before := heap()
	const dials = 2000
	for range dials {
		instrument.DialOption()
	}
	if perDial := (heap() - before) / dials; perDial > 256 {
		t.Errorf("an option given anew to each dial keeps %d bytes, want 256 at most", perDial)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

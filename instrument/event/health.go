package event

import (
	"fmt"
	"time"
)

// TransportUnhealthy reports that a READY transport gets no RPCs any more: its server says that it does not serve, or
// outlier detection ejected it. It ends with [TransportHealthy], or with the transport.
type TransportUnhealthy struct {
	Header
	Transport ID
	// Err is what gRPC fails RPCs with meanwhile, and ErrorType its class: "outlier_ejected" or "health_check_failed".
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (TransportUnhealthy) Kind() Kind { return KindHealth }

// Name implements [Event].
func (TransportUnhealthy) Name() string { return "transport.unhealthy" }

func (e TransportUnhealthy) String() string {
	return fmt.Sprintf("subchannel %d: READY but unhealthy (%s)%s", e.Subchannel, e.ErrorType, because(e.Err))
}

// TransportHealthy reports that a transport that was unhealthy gets RPCs again.
type TransportHealthy struct {
	Header
	Transport ID
	// Start is when it became unhealthy.
	Start time.Time
}

// Kind implements [Event].
func (TransportHealthy) Kind() Kind { return KindHealth }

// Name implements [Event].
func (TransportHealthy) Name() string { return "transport.healthy" }

func (e TransportHealthy) String() string {
	return fmt.Sprintf("subchannel %d: healthy again after %v", e.Subchannel, e.Time.Sub(e.Start))
}

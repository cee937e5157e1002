package sample

import "time"

// TCP is what a transport's socket did since the last sample; MinRTT and DeliveryRate are those of now.
type TCP struct {
	Target                      string
	MinRTT                      time.Duration
	DeliveryRate                uint64
	Sent, Retransmits, Spurious int64
}

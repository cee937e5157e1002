package metrics

// The buckets of each histogram, in seconds, chosen for the thing that is measured.
var (
	// quick: a loopback dial takes 100 µs, one to another continent 200 ms, one that fails 20 s (grpc-go's
	// minimum connect timeout).
	quick = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40}
	// outage: an episode takes a handshake or as long as a server is away.
	outage = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600}
	// backoff: gRPC's runs from 1 s, by a factor of 1.6, to 120 s, with a jitter of 20 %.
	backoff = []float64{0.1, 0.5, 0.8, 1.2, 2, 3, 5, 8, 12, 20, 32, 50, 80, 100, 120, 150}
	// life: a connection lives for days, or is lost within a second where something is wrong.
	life = []float64{0.1, 1, 5, 15, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600}
)

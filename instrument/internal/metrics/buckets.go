package metrics

// The buckets of each histogram, in seconds. A process has all series for each of its targets, and a classic
// histogram is a series for each bucket: there are few, at the limits that matter. Native histograms have exact
// quantiles.
var (
	// attempt: its count says how many there were, and the phases say where the time went.
	attempt = []float64{1}
	// quick: a phase or a name resolution takes milliseconds nearby and 200 ms to another continent; what takes a second
	// has lost a packet or waits for a time-out.
	quick = []float64{0.1, 1}
	// outage: a handshake, a backoff or two, a restart, and what a person has to look at.
	outage = []float64{1, 10, 60}
	// pickWait: what nobody notices, what a person notices, and what runs into deadlines.
	pickWait = []float64{0.1, 1, 10}
	// backoff: gRPC's runs from 1 s, by a factor of 1.6, to 120 s, with a jitter of 20 %.
	backoff = []float64{1.5, 5, 20, 60}
	// life: a connection lives for hours or days, or is lost within a minute where something is wrong.
	life = []float64{1, 60, 30 * 60, 24 * 3600}
)

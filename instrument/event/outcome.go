package event

// Outcome says how an episode, attempt, backoff, pick wait or name resolution ended.
type Outcome string

// The outcomes.
const (
	// OutcomeReady is success: the endpoint or transport is READY, or the resolver gave addresses.
	OutcomeReady Outcome = "ready"
	// OutcomeFailed is failure, with an error.
	OutcomeFailed Outcome = "failed"
	// OutcomeCancelled is given up: another address was faster, the RPC's caller cancelled, or the resolver was closed.
	OutcomeCancelled Outcome = "cancelled"
	// OutcomeAbandoned is given up since the subchannel or endpoint was removed.
	OutcomeAbandoned Outcome = "abandoned"
	// OutcomeChannelClosed is given up since the channel was closed.
	OutcomeChannelClosed Outcome = "channel_closed"
	// OutcomeInterrupted is unknown: redial was shut down before the end.
	OutcomeInterrupted Outcome = "interrupted"
	// OutcomePicked is a pick wait that ended with a transport.
	OutcomePicked Outcome = "picked"
	// OutcomeDeadlineExceeded is a pick wait that ended with the RPC's deadline.
	OutcomeDeadlineExceeded Outcome = "deadline_exceeded"
	// OutcomeElapsed is a backoff that took its time.
	OutcomeElapsed Outcome = "elapsed"
	// OutcomeReset is a backoff that ClientConn.ResetConnectBackoff cut short.
	OutcomeReset Outcome = "reset"
	// OutcomeShutdown is a backoff of a subchannel that was shut down.
	OutcomeShutdown Outcome = "shutdown"
	// OutcomeContinued is a chapter of an episode that goes on in the next one, or the wait of an RPC that is over and may
	// be followed by one for another reason, as connecting follows name resolution.
	OutcomeContinued Outcome = "continued"
)

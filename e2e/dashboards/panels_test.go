package dashboards_test

import (
	"math"
	"slices"
	"strings"

	"github.com/redial-dev/redial/e2e/internal/prom"
)

// phase is when a panel shows anything but 0.
type phase int

const (
	always     phase = iota // On a healthy system already.
	sinceBegin              // What the clients' own start makes, which may be in the time shown or before it.
	oncePlayed              // Not before it was played.
	onceSent                // Since spans were sent, which nobody takes: where metrics come by OTLP, and nowhere else.
	maybe                   // As it happens, before and after.
	perhaps                 // As it happens in the play, not before.
	scraped                 // On a healthy system, where metrics are scraped, and nowhere else.
	notPlayed               // Never in this play.
)

// panels says for each panel, and for the annotation, when it shows something, and of what. Those that say how much
// there is of something show 0 before, but for those that may be empty.
var panels = map[string]struct {
	phase phase
	what  string
	empty bool // Whether it is empty, and says so, before.
}{
	// What there is now.
	"Endpoints without a connection":              {oncePlayed, "an outage", false},
	"Endpoints without a connection, by reason":   {oncePlayed, "an outage", false},
	"Instances without a connection":              {oncePlayed, "an outage", false},
	"Targets without a connection":                {oncePlayed, "an outage", false},
	"Without a connection, by instance":           {oncePlayed, "an outage", false},
	"Without a connection, by target":             {oncePlayed, "an outage", false},
	"Longest outage now":                          {oncePlayed, "an outage", false},
	"Without a connection":                        {oncePlayed, "an outage of more than 30 s", true},
	"Stalled connections":                         {oncePlayed, "packets that vanish", false},
	"Stalled connections, by instance":            {oncePlayed, "packets that vanish", false},
	"READY endpoints that get no RPCs, by reason": {oncePlayed, "a health check that fails", false},
	"READY connections":                           {always, "a connection", false},
	"Subchannels by state":                        {always, "a connection", false},
	"State of the clients":                        {always, "a connection", false},
	"Certificate expires in":                      {oncePlayed, "TLS", true},
	"Instances":                                   {always, "a client", false},
	"Targets":                                     {always, "a client", false},
	"Versions of redial":                          {always, "a client", false},
	"Instances, by version of redial":             {always, "a client", false},
	"RPCs waiting":                                {oncePlayed, "an RPC that waits", false},
	"RPCs waiting, by reason":                     {oncePlayed, "an RPC that waits", false},
	"Addresses":                                   {always, "a resolver's answer", false},
	// What happens.
	"Connections lost":                          {oncePlayed, "a loss", false},
	"Connections lost, by cause":                {oncePlayed, "a loss", false},
	"Connections lost, by instance":             {oncePlayed, "a loss", false},
	"Connections lost, by target":               {oncePlayed, "a loss", false},
	"Connections lost, against last week":       {oncePlayed, "a loss", false},
	"Instances that lost a connection":          {oncePlayed, "a loss", false},
	"Lifetime of lost connections":              {oncePlayed, "a loss", false},
	"Time to reconnect":                         {oncePlayed, "a redial", false},
	"RPCs refused or killed":                    {oncePlayed, "an RPC that was refused", false},
	"RPCs refused and killed":                   {oncePlayed, "an RPC that was refused", false},
	"RPCs refused or killed, by instance":       {oncePlayed, "an RPC that was refused", false},
	"RPCs refused or killed, by target":         {oncePlayed, "an RPC that was refused", false},
	"RPCs refused or killed, against last week": {oncePlayed, "an RPC that was refused", false},
	"Worst targets":                             {oncePlayed, "a loss", false},
	"Instances compared":                        {oncePlayed, "a loss", false},
	"Targets compared":                          {oncePlayed, "a loss", false},
	"Attempts, by outcome":                      {sinceBegin, "an attempt", false},
	"Attempts of all, by outcome":               {sinceBegin, "an attempt", false},
	"Duration of all phases of attempts":        {sinceBegin, "an attempt", true},
	"Phases of attempts, in the mean":           {sinceBegin, "an attempt", true},
	"Failed attempts, by phase and reason":      {oncePlayed, "an attempt that failed", false},
	"Backoff waits, in the mean":                {oncePlayed, "an attempt that failed", false},
	"Waits of RPCs, 99 % below":                 {sinceBegin, "an RPC that waited", false},
	"Name resolutions, by outcome":              {sinceBegin, "a resolver's answer", false},
	"Time for a name":                           {sinceBegin, "a resolver's answer", false},
	"Spread of RPCs over connections":           {maybe, "an RPC between two scrapes", false},
	// redial itself.
	"Events observed":                  {sinceBegin, "anything", false},
	"Memory of the journal":            {always, "a client", false},
	"Samples of a scrape":              {scraped, "a scrape", true},
	"Time of a scrape":                 {scraped, "a scrape", true},
	"Events lost":                      {onceSent, "spans that nobody takes", false},
	"Events lost, by sink":             {onceSent, "spans that nobody takes", false},
	"Failed exports":                   {onceSent, "spans that nobody takes", false},
	"Failed exports, by signal":        {onceSent, "spans that nobody takes", false},
	"Spans left out":                   {perhaps, "more than 20 episodes of a target in a second", false},
	"Spans left out, over time":        {perhaps, "more than 20 episodes of a target in a second", false},
	"Connections not observed":         {notPlayed, "no policy of the play makes subchannels that redial does not see", false},
	"Channels named other":             {notPlayed, "there are fewer than 200 targets", false},
	"gRPC changed":                     {notPlayed, "it is the gRPC that redial knows", false},
	"Events pushed out of the journal": {perhaps, "more events than the journal has room for", false},
	"Instances not scraped":            {notPlayed, "each is there to the end", false},
}

// onlyTested are the alerts that promtool tests alone, in dashboards/rules/tests, and why.
var onlyTested = map[string]string{
	"RedialInternalsFailed": "it is the gRPC that redial knows",
}

// asExpected compares what all panels show in a phase with the table: on the healthy system, or after the play. It asks
// each query in each way.
func (s *stage) asExpected(all []query, played bool) {
	s.t.Helper()
	for _, job := range ways {
		empty, shows := map[string]bool{}, map[string]bool{}
		for _, q := range all {
			found := s.ask(q, job, anything)
			if played && len(found) == 0 && panels[q.panel].phase != scraped {
				s.t.Errorf("%s finds nothing by %s after all was played:\n%s", q, job, q.filled(job, anything, minute))
			}
			name := q.dashboard + ", " + q.panel
			if _, known := empty[name]; !known {
				empty[name] = true
			}
			empty[name] = empty[name] && len(found) == 0
			shows[name] = shows[name] || something(found)
		}
		for name := range empty {
			_, panel, _ := strings.Cut(name, ", ")
			p, listed := panels[panel]
			switch {
			case !listed:
				s.t.Errorf("the table of panels lacks %s", name)
			case empty[name] && !p.empty:
				s.t.Errorf("%s is empty by %s", name, job)
			case shows[name] && !p.phase.may(played, job):
				s.t.Errorf("%s shows something by %s before %s", name, job, p.what)
			case !shows[name] && p.phase.must(played, job):
				s.t.Errorf("%s shows nothing by %s, after %s", name, job, p.what)
			}
		}
	}
	for panel := range panels {
		if !slices.ContainsFunc(all, func(q query) bool { return q.panel == panel }) {
			s.t.Errorf("the table of panels has %q, and no dashboard has it", panel)
		}
	}
}

// may reports whether a panel can show something: on a healthy system, or after the play.
func (p phase) may(played bool, job string) bool {
	switch p {
	case always, sinceBegin, maybe:
		return true
	case oncePlayed, perhaps:
		return played
	case onceSent:
		return isSent(job)
	case scraped:
		return !isSent(job)
	case notPlayed:
	}
	return false
}

// must reports whether a panel has to show something: on a healthy system, or after the play.
func (p phase) must(played bool, job string) bool {
	switch p {
	case always, scraped:
		return p.may(played, job)
	case sinceBegin, oncePlayed, onceSent:
		return played && p.may(played, job)
	case maybe, perhaps, notPlayed:
	}
	return false
}

// isSent reports whether metrics come by OTLP, and not by a scrape.
func isSent(job string) bool { return job == "otlp" || job == "collector" }

// something reports whether series show more than that there is nothing: a value other than 0.
func something(found []prom.Series) bool {
	shown := func(v float64) bool { return v != 0 && !math.IsNaN(v) }
	for _, one := range found {
		if shown(one.Value.Value) || len(one.Histogram) > 0 || len(one.Histograms) > 0 {
			return true
		}
		for _, p := range one.Values {
			if shown(p.Value) {
				return true
			}
		}
	}
	return false
}

package compose

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// value is the sum of what a query finds in Prometheus, and whether it finds anything.
func (s stack) value(query string) (sum float64, found bool, err error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := get(s.address("prometheus", 9090), "/api/v1/query", url.Values{"query": {query}}, &answer); err != nil {
		return 0, false, err
	}
	for _, r := range answer.Data.Result {
		x, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return 0, false, err
		}
		sum += x
	}
	return sum, len(answer.Data.Result) > 0, nil
}

// positive waits until a query finds more than 0.
func (s stack) positive(query string) {
	s.t.Helper()
	s.eventually(query, func() error {
		sum, found, err := s.value(query)
		if err == nil && (!found || sum <= 0) {
			err = fmt.Errorf("found %t, %v", found, sum)
		}
		return err
	})
}

// span is one of Jaeger's.
type span struct {
	TraceID    string `json:"traceID"`
	SpanID     string `json:"spanID"`
	Operation  string `json:"operationName"`
	StartTime  int64  `json:"startTime"` // Microseconds of Unix time.
	References []struct {
		Type    string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	} `json:"references"`
}

// links returns what the span links to.
func (s span) links() (ids []string) {
	for _, r := range s.References {
		if r.Type == "FOLLOWS_FROM" {
			ids = append(ids, r.SpanID)
		}
	}
	return ids
}

// traces asks Jaeger for the newest traces of a service that have an operation, since some time.
func (s stack) traces(service, operation string, since time.Time, limit int) (all [][]span, err error) {
	var answer struct {
		Data []struct {
			Spans []span `json:"spans"`
		} `json:"data"`
	}
	query := url.Values{
		"service": {service}, "operation": {operation}, "limit": {strconv.Itoa(limit)},
		"start": {strconv.FormatInt(since.UnixMicro(), 10)}, "end": {strconv.FormatInt(time.Now().UnixMicro(), 10)},
	}
	if err := get(s.address("jaeger", 16686), "/api/traces", query, &answer); err != nil {
		return nil, err
	}
	for _, d := range answer.Data {
		all = append(all, d.Spans)
	}
	return all, nil
}

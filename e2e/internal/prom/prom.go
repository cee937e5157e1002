// Package prom runs a real Prometheus server, which e2e/stack.sh builds, and asks its API.
package prom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redial-dev/redial/e2e/internal/loopback"
)

// Server is a running Prometheus server.
type Server struct {
	Address string
	cmd     *exec.Cmd
	stop    sync.Once
}

// Stop ends the server, and waits until it has ended.
func (s *Server) Stop() {
	s.stop.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself, which its log says.
		_ = s.cmd.Wait()
	})
}

// Start runs a server with a configuration, and more flags, until the test ends.
func Start(t testing.TB, config string, flags ...string) *Server {
	t.Helper()
	return StartOn(t, filepath.Join(t.TempDir(), "data"), config, flags...)
}

// Program returns the path of a program that e2e/stack.sh builds.
func Program(t testing.TB, name string) string {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: e2e/stack.sh builds it", err)
	}
	return program
}

// StartOn runs a server on the blocks of a folder.
func StartOn(t testing.TB, data, config string, flags ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err := errors.Join(err, os.WriteFile(file, []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: loopback.FreeAddress(t)}
	s.cmd = exec.Command(Program(t, "prometheus"), append([]string{
		"--web.listen-address=" + s.Address, "--config.file=" + file, "--storage.tsdb.path=" + data,
	}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("Prometheus said (%v):\n%s", err, text)
		}
	})
	deadline := time.Now().Add(time.Minute)
	for !s.ready() {
		if time.Now().After(deadline) {
			t.Fatal("Prometheus is not ready after a minute")
		}
		time.Sleep(50 * time.Millisecond) // Between two questions.
	}
	return s
}

func (s *Server) ready() bool {
	resp, err := http.Get("http://" + s.Address + "/-/ready")
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// Get asks the API, and decodes the data of the answer.
func (s *Server) Get(path string, parameters url.Values, data any) error {
	resp, err := http.PostForm("http://"+s.Address+"/api/v1/"+path, parameters)
	if resp != nil && resp.StatusCode == http.StatusMethodNotAllowed {
		_ = resp.Body.Close()
		resp, err = http.Get("http://" + s.Address + "/api/v1/" + path + "?" + parameters.Encode())
	}
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	answer := struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s (%v)", path, resp.Status, answer.Error, err)
	}
	return nil
}

// Series is what a query finds: labels, and values by Unix time. Those of native histograms are not numbers, and
// only counted.
type Series struct {
	Metric     map[string]string `json:"metric"`
	Value      Point             `json:"value"`
	Values     []Point           `json:"values"`
	Histogram  json.RawMessage   `json:"histogram"`
	Histograms []json.RawMessage `json:"histograms"`
}

// Point is a value and when it was.
type Point struct{ Time, Value float64 }

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Point) UnmarshalJSON(text []byte) error {
	var value string
	if err := json.Unmarshal(text, &[]any{&p.Time, &value}); err != nil {
		return err
	}
	var err error
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

// Query evaluates an expression at a time.
func (s *Server) Query(expr string, at time.Time) ([]Series, error) {
	var found struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	}
	if err := s.Get("query", url.Values{"query": {expr}, "time": {unix(at)}}, &found); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	if found.Type == "scalar" {
		one := Series{}
		return []Series{one}, json.Unmarshal(found.Result, &one.Value)
	}
	var series []Series
	return series, json.Unmarshal(found.Result, &series)
}

// QueryRange evaluates an expression at each step of a time.
func (s *Server) QueryRange(expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	var found struct {
		Result []Series `json:"result"`
	}
	err := s.Get("query_range", url.Values{
		"query": {expr}, "start": {unix(from)}, "end": {unix(to)}, "step": {fmt.Sprint(step.Seconds())},
	}, &found)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return found.Result, nil
}

func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

package compose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stack is compose.yaml with the offline images, up and healthy until the test ends.
type stack struct{ t *testing.T }

const (
	project  = "redial-test"    // Beside a stack of the same name as compose.yaml says.
	patience = 12 * time.Minute // Two rounds of the story, and an alert that wants to be sure.
)

// command runs a command at the top of the repository, and returns what it printed.
func command(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = filepath.Join("..", "..")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

func compose(args ...string) (string, error) {
	program := filepath.Join("e2e", "bin", "docker-compose")
	return command("./"+program, append([]string{
		"-p", project, "-f", "compose.yaml", "-f", "e2e/compose.offline.yaml",
	}, args...)...)
}

func must(t *testing.T) func(string, error) string {
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// left returns the containers, networks and volumes of the stack that there are.
func left(t *testing.T) string {
	t.Helper()
	var all []string
	for _, kind := range []string{"container", "network", "volume"} {
		list := []string{kind, "ls", "--quiet", "--filter", "label=com.docker.compose.project=" + project}
		if kind == "container" {
			list = append(list, "--all")
		}
		if ids := must(t)(command("docker", list...)); ids != "" {
			all = append(all, kind+" "+strings.ReplaceAll(ids, "\n", " "))
		}
	}
	return strings.Join(all, ", ")
}

// up brings the stack up, waits until all of it is healthy, and takes it down at the end, with nothing left.
func up(t *testing.T) stack {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			out, err := compose("ps", "--all")
			t.Logf("%s (%v)", out, err)
			out, err = compose("logs", "--no-color", "--tail", "40")
			t.Logf("%s (%v)", out, err)
		}
		// A busy engine has not always let go of a volume when compose wants to remove it: then a second time does.
		for range 5 {
			must(t)(compose("down", "--volumes", "--timeout", "5"))
			if left(t) == "" {
				return
			}
		}
		t.Errorf("down -v leaves %s", left(t))
	})
	start := time.Now()
	must(t)(compose("up", "--detach", "--wait", "--wait-timeout", "300"))
	t.Logf("healthy after %v", time.Since(start).Round(time.Second))
	return stack{t}
}

// address returns where this host reaches a port of a service.
func (s stack) address(service string, port int) string {
	s.t.Helper()
	return must(s.t)(compose("port", service, strconv.Itoa(port)))
}

// get reads the JSON that a URL answers with.
func get(address, path string, query url.Values, answer any) error {
	resp, err := http.Get((&url.URL{Scheme: "http", Host: address, Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s?%s: %s %.500s", path, query.Encode(), resp.Status, body)
	}
	return json.Unmarshal(body, answer)
}

// eventually waits until something is found, or says what was found in its place.
func (s stack) eventually(what string, find func() error) {
	s.t.Helper()
	start := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for err := find(); err != nil; err = find() {
		if time.Since(start) > patience {
			s.t.Fatalf("waited %v for %s: %v", patience, what, err)
		}
		<-tick.C
	}
	s.t.Logf("%s: after %v", what, time.Since(start).Round(time.Second))
}

// kill ends the first process of a service's container as the kernel would, short of memory.
func (s stack) kill(service string) {
	s.t.Helper()
	id := must(s.t)(compose("ps", "--quiet", service))
	pid, err := strconv.Atoi(must(s.t)(command("docker", "inspect", "--format", "{{.State.Pid}}", id)))
	if err != nil || pid <= 1 {
		s.t.Fatalf("the process of %s: %d (%v)", service, pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

// started is when the container of a service was started last.
func (s stack) started(service string) string {
	s.t.Helper()
	return must(s.t)(command("docker", "inspect", "--format", "{{.State.StartedAt}}",
		must(s.t)(compose("ps", "--all", "--quiet", service))))
}

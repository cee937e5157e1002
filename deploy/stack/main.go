// Stack is the programs of compose.yaml in one binary: a client whose channels redial observes, the backends that it
// calls, an injector that breaks what is between them, and a probe for health checks.
//
//	stack client [-plain] [-target TARGET] [-listen ADDRESS]
//	stack backend [-names NAME,...]
//	stack injector [-backends NAME,...]
//	stack probe URL
//
// compose.yaml shows how they belong together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set when the image is built.
var version = "development"

// programs are what the binary can be.
var programs = map[string]func(ctx context.Context, args []string) error{
	"client": client, "backend": backendProgram, "injector": injector, "probe": probe,
	"version": func(context.Context, []string) error {
		fmt.Println(version)
		return nil
	},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: stack client|backend|injector|probe|version [arguments]")
		os.Exit(2)
	}
	if err := programs[os.Args[1]](ctx, os.Args[2:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "stack %s: %v\n", os.Args[1], err)
		}
		os.Exit(1)
	}
}

// probe succeeds where a URL answers 200. Images FROM scratch have no other program for a health check.
func probe(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("probe: want one URL")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	direct := &http.Client{Transport: &http.Transport{}} // Past the proxy that the client's environment names.
	resp, err := direct.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", args[0], resp.Status)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return err
}

// serveHTTP serves until the context is done.
func serveHTTP(ctx context.Context, address string, h http.Handler) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// sleep lets time pass, and reports whether the context is not done.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// logger writes what the programs do, for docker compose logs.
var logger = slog.New(slog.NewTextHandler(os.Stdout, nil))

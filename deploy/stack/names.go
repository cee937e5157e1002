package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers one name with the addresses of all backends, and does not answer at all while it is silent.
type nameServer struct {
	name     string // With a dot at its end.
	backends []string
	silent   atomic.Bool
}

// serve answers over UDP until the context is done.
func (n *nameServer) serve(ctx context.Context, address string) error {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	buf := make([]byte, 512) // The longest query without EDNS.
	for {
		size, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil || n.silent.Load() {
			continue
		}
		answer, err := n.answer(ctx, buf[:size])
		if err != nil {
			logger.Warn("no answer to a query of names", "from", from, "error", err)
			continue
		}
		if _, err := conn.WriteTo(answer, from); err != nil && ctx.Err() == nil {
			logger.Warn("answer a query of names", "to", from, "error", err)
		}
	}
}

func (n *nameServer) answer(ctx context.Context, query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	answer := dnsmessage.Message{
		Header: dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case !strings.EqualFold(question.Name.String(), n.name):
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		for _, ip := range n.addresses(ctx) {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: ip},
			})
		}
	}
	return answer.Pack()
}

// addresses asks the network's own name server where the backends are. One that is down has no address.
func (n *nameServer) addresses(ctx context.Context) (all [][4]byte) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, b := range n.backends {
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", b)
		if err != nil {
			logger.Warn("look a backend up", "name", b, "error", err)
			continue
		}
		all = append(all, [4]byte(ips[0].To4()))
	}
	return all
}

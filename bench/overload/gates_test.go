package main

import (
	"context"
	"net/http"
	"slices"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// A strategy is a way to stay within a limit. The rows compare the gate with other
// strategies.
type strategy struct {
	name   string
	client func(sim.Situation, settings) sim.Client // makes the clients for one run
}

// strategies lists the gate and the strategies that it is compared with. ROWS.md contains
// the first three, PEERS.md all of them.
var strategies = []strategy{
	{"gate", gatesOf(func(process int) gate.Gate { return seededGate(0, process) })},
	{"none", gatesOf(func(int) gate.Gate { return nil })},
	{"aimd", gatesOf(func(int) gate.Gate { return newAIMD() })},
	{"atb", toldGates(func(limit quota) func() gate.Gate {
		return func() gate.Gate { return newATB(limit) }
	})},
	{"aatb", toldGates(func(limit quota) func() gate.Gate {
		all := &telemetry{limit: limit.rate}
		return func() gate.Gate { return newAATB(limit, all) }
	})},
	{"gradient", gatesOf(func(int) gate.Gate { return newGradient() })},
	{"google", gatesOf(func(int) gate.Gate { return newGoogle() })},
	{"aws-standard", library("aws-standard")},
	{"aws-adaptive", library("aws-adaptive")},
}

// inRows are the strategies of ROWS.md.
var inRows = strategies[:3]

// gatesOf makes clients with one gate per process. Calling one creates such a gate for the
// process with the given number, from 0; if it returns nil, the clients have no gate.
func gatesOf(one func(process int) gate.Gate) func(sim.Situation, settings) sim.Client {
	return func(_ sim.Situation, set settings) sim.Client {
		processes := 0
		return set.client(func() gate.Gate {
			processes++
			return one(processes - 1)
		})
	}
}

// toldGates is like gatesOf, for gates that know the limit from the start.
func toldGates(all func(quota) func() gate.Gate) func(sim.Situation, settings) sim.Client {
	return func(s sim.Situation, set settings) sim.Client { return set.client(all(quotaOf(s))) }
}

// library makes clients that retry as the peer with this name does by default.
func library(name string) func(sim.Situation, settings) sim.Client {
	return func(sim.Situation, settings) sim.Client {
		i := slices.IndexFunc(peers.All, func(p peers.Peer) bool { return p.Name == name })
		return func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
			return peers.All[i].Wire(base, 0)
		}
	}
}

// settings are the Transport's settings that a row needs.
type settings struct {
	also []iamhttp.Code             // AlsoRetry
	key  func(*http.Request) string // GateKey
}

// client returns a sim.Client whose Transports have these settings, and gates that are
// created by calling one.
func (set settings) client(one func() gate.Gate) sim.Client {
	return func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return (&http.Client{Transport: &iamhttp.Transport{
			Base: base, Gate: one(), MaxAttempts: 20, AlsoRetry: set.also, GateKey: set.key,
		}}).Do
	}
}

// interactive marks a call for which a person is waiting.
func interactive(ctx context.Context) context.Context {
	return gate.WithPriority(ctx, gate.Interactive)
}

// Package register puts redial's pick_first in the place of gRPC's, for every channel of the process; channels without
// a redial handler get gRPC's own from it, untouched.
//
// Package grpc keeps the pick_first that it finds when it is initialised, so this package must be initialised first.
// Go initialises packages in the order of their import paths as soon as what they import is initialised: this path
// sorts before google.golang.org/grpc, and nothing below it imports what package grpc does not import itself. A test
// holds both, and a handler reports where it was otherwise (grpcinternals.InitOrder).
package register

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"

	"github.com/redial-dev/redial/instrument/internal/hooks"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
)

func init() {
	grpcinternals.Registering()
	balancer.Register(hooks.WrapPickFirst(balancer.Get(pickfirst.Name)))
}

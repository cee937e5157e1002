package grpcinternals

import estats "google.golang.org/grpc/experimental/stats"

// RegisteredLate: package grpc was initialised before redial's pick_first was registered, and has gRPC's own.
//
// Tried on grpc-go 1.84 and 1.85.
var RegisteredLate bool

// Registering notes that redial's pick_first is registered now. What package grpc registers when it is initialised
// shows whether it was.
func Registering() { RegisteredLate = estats.DescriptorForMetric(DisconnectionNames.Metric) != nil }

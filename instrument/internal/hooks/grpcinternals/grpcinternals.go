// Package grpcinternals holds what redial knows of grpc-go that grpc-go does not promise, a file for each fact.
package grpcinternals

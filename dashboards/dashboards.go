// Package dashboards holds redial's Grafana dashboards, recording rules and alerts, for programs that install them.
// README.md says what each answers and how to load them without Go. The generator below this folder writes all of
// them:
//
//	go -C dashboards/generator run .
package dashboards

import "embed"

// FS holds the files by the names that they have in this folder: the dashboards, rules/ for Prometheus, and
// kubernetes/ for its operator.
//
//go:embed *.json rules/*.yaml kubernetes/*.yaml
var FS embed.FS

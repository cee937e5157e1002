// Package dashboards holds redial's Grafana dashboards. Import them, or copy the folder:
//
//	overview.json  is anyone without a connection now, since when, and why?
//
// The generator below this folder writes all of them anew: go -C dashboards/generator run .
package dashboards

import "embed"

// FS holds the files by the names that they have in this folder.
//
//go:embed *.json
var FS embed.FS

// Command generator writes the dashboards and rules into the folder above it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/redial-dev/redial/dashboards/generator/board"
	"github.com/redial-dev/redial/dashboards/generator/promql"
	"github.com/redial-dev/redial/dashboards/generator/rule"
)

// dashboards are the functions that make them, by the names of their files.
var dashboards = map[string]func(*promql.Signals) (dashboard.Dashboard, error){
	"overview.json": board.Overview,
	"target.json":   board.Target,
	"fleet.json":    board.Fleet,
	"agent.json":    board.Agent,
}

func main() {
	log.SetFlags(0)
	files, err := generate()
	for name, content := range files {
		file := filepath.Join("..", name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o644))
	}
	if err != nil {
		log.Fatal(err)
	}
}

// generate returns all files by their names. Their queries name no signal that docs/signals.md does not list.
func generate() (map[string][]byte, error) {
	signals, err := promql.ReadSignals(filepath.Join("..", "..", "docs", "signals.md"))
	if err != nil {
		return nil, err
	}
	rule.Register(signals)
	files := map[string][]byte{}
	for name, of := range dashboards {
		d, err := of(signals)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if files[name], err = marshal(d); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return files, addRules(signals, files)
}

func addRules(signals *promql.Signals, files map[string][]byte) error {
	recording, err1 := rule.Recording(signals)
	alerts, err2 := rule.Alerts(signals)
	var err3, err4, err5 error
	files["rules/recording.yaml"], err3 = rule.File(recording)
	files["rules/alerts.yaml"], err4 = rule.File(alerts)
	files["kubernetes/prometheusrule.yaml"], err5 = rule.Kubernetes(recording, alerts)
	return errors.Join(err1, err2, err3, err4, err5)
}

func marshal(d dashboard.Dashboard) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return text.Bytes(), err
}

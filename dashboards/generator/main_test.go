package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func generated(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What is committed is what the generator writes.
func TestCommittedIsGenerated(t *testing.T) {
	files := generated(t)
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(have, want) {
			t.Errorf("dashboards/%s differs from what go -C dashboards/generator run . writes", name)
		}
	}
	for _, pattern := range []string{"*.json", "rules/*.yaml"} {
		there, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range there {
			if name := strings.TrimPrefix(filepath.ToSlash(file), "../"); files[name] == nil {
				t.Errorf("dashboards/%s is not written by the generator", name)
			}
		}
	}
}

// Grafana's own schema knows every field of the dashboards.
func TestSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name, text := range generated(t) {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // It is never nil.
			t.Errorf("%s: %v", name, err)
		}
	}
}

var linkURL = regexp.MustCompile(`"url": "(/d/([a-z-]+)\?[^"]*)"`)

// Each link of a panel leads to a dashboard that there is, and takes the time and all variables along.
func TestLinks(t *testing.T) {
	files := generated(t)
	for name, text := range files {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		for _, link := range linkURL.FindAllStringSubmatch(string(text), -1) {
			url := strings.ReplaceAll(link[1], `\u0026`, "&")
			if files[strings.TrimPrefix(link[2], "redial-")+".json"] == nil {
				t.Errorf("%s: no dashboard has the uid of the link %s", name, url)
			}
			for _, kept := range []string{"__url_time_range", "datasource", "job", "instance", "target"} {
				if !strings.Contains(url, "${"+kept) && !strings.Contains(url, "var-"+kept+"=${") {
					t.Errorf("%s: the link %s does not take %s along", name, url, kept)
				}
			}
		}
		if name != "agent.json" && !linkURL.Match(text) {
			t.Errorf("%s has no links", name)
		}
	}
}

// Each alert has a runbook, of the same four parts, and each runbook an alert.
func TestRunbooks(t *testing.T) {
	alerts := string(generated(t)["rules/alerts.yaml"])
	folder := filepath.Join("..", "..", "docs", "runbooks")
	for _, match := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(alerts, -1) {
		text, err := os.ReadFile(filepath.Join(folder, match[1]+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, part := range []string{"# " + match[1], "## What it means", "## How to look", "## What to " +
			"do", "## How it ends"} {
			if !strings.Contains(string(text), part+"\n") {
				t.Errorf("the runbook of %s has no %q", match[1], part)
			}
		}
	}
	pages, err := filepath.Glob(filepath.Join(folder, "Redial*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); !strings.Contains(alerts, "alert: "+name+"\n") {
			t.Errorf("no alert %s for its runbook", name)
		}
	}
}

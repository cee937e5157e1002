package compose

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// service is what the tests read of one in the configuration that docker compose makes of its files.
type service struct {
	Ports []struct {
		HostIP    string `json:"host_ip"`
		Published string `json:"published"`
		Target    int    `json:"target"`
	} `json:"ports"`
	Volumes []struct {
		Type   string `json:"type"`
		Source string `json:"source"`
		Target string `json:"target"`
	} `json:"volumes"`
	HealthCheck any      `json:"healthcheck"`
	ReadOnly    bool     `json:"read_only"`
	User        string   `json:"user"`
	CapDrop     []string `json:"cap_drop"`
	MemLimit    string   `json:"mem_limit"`
	Image       string   `json:"image"`
	Build       any      `json:"build"`
	Restart     string   `json:"restart"`
}

// config returns what docker compose makes of files, which it refuses where they are not valid.
func config(t *testing.T, into any, files ...string) {
	t.Helper()
	args := []string{"--profile", "*"}
	for _, f := range files {
		args = append(args, "-f", f)
	}
	out := must(t)(command("./e2e/bin/docker-compose", append(args, "config", "--format", "json")...))
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatal(err)
	}
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var c struct {
		Services map[string]service `json:"services"`
	}
	config(t, &c, "compose.yaml")
	if len(c.Services) < 5 {
		t.Fatalf("compose.yaml has the services %v", c.Services)
	}
	return c.Services
}

// What is promised at the top of compose.yaml, of each service.
func TestConfigConfinesServices(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/.-]+:v?[0-9]+\.[0-9]+\.[0-9]+(@sha256:[0-9a-f]{64})?$`)
	for name, s := range services(t) {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.User == "" || strings.HasPrefix(s.User, "0") ||
			s.MemLimit == "" {
			t.Errorf("%s: read-only %t, capabilities dropped %v, user %q, memory %q",
				name, s.ReadOnly, s.CapDrop, s.User, s.MemLimit)
		}
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %s is not pinned", name, s.Image)
		}
		if s.Restart != "no" && s.HealthCheck == nil {
			t.Errorf("%s has no health check", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %d is open at %q", name, p.Target, p.HostIP)
			}
		}
	}
}

// The stack that is tested is the one that people start, but for the images.
func TestConfigOfflineReplacesOnlyImages(t *testing.T) {
	var online, offline struct {
		Services map[string]map[string]any `json:"services"`
		Networks any                       `json:"networks"`
		Volumes  any                       `json:"volumes"`
	}
	config(t, &online, "compose.yaml")
	config(t, &offline, "compose.yaml", "e2e/compose.offline.yaml")
	for _, c := range []map[string]map[string]any{online.Services, offline.Services} {
		for _, s := range c {
			delete(s, "image")
			delete(s, "build")
			delete(s, "pull_policy")
		}
	}
	delete(offline.Services["grafana"], "profiles")
	if !reflect.DeepEqual(online, offline) {
		t.Errorf("the offline stack differs:\n%v\n%v", online, offline)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// uids collects the values of the keys uid and datasourceUid, wherever they are, of an object that has a type of data
// source.
func uids(value any, found map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if uid, ok := inner.(string); ok && (key == "datasourceUid" || key == "uid" && value["type"] != nil) {
				found[uid] = true
			}
			uids(inner, found)
		}
	case []any:
		for _, inner := range value {
			uids(inner, found)
		}
	}
}

// Grafana is not in the tested stack, so what it would look for is looked for here: each data source at a service and
// port of the stack, each folder of dashboards where it is mounted, each data source that a dashboard names.
func TestConfigOfGrafanaNamesWhatIsThere(t *testing.T) {
	all := services(t)
	provisioning := filepath.Join("..", "..", "deploy", "grafana", "provisioning")
	var sources struct {
		Datasources []struct {
			UID  string         `yaml:"uid"`
			Type string         `yaml:"type"`
			URL  string         `yaml:"url"`
			JSON map[string]any `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	readYAML(t, filepath.Join(provisioning, "datasources", "datasources.yaml"), &sources)
	known, types := map[string]bool{"-- Grafana --": true, "grafana": true}, map[string]bool{}
	named := map[string]bool{}
	for _, d := range sources.Datasources {
		known[d.UID], types[d.Type] = true, true
		u, err := url.Parse(d.URL)
		if err != nil {
			t.Fatal(err)
		}
		open := func(port string) bool {
			return slices.ContainsFunc(all[u.Hostname()].Ports, func(p struct {
				HostIP    string `json:"host_ip"`
				Published string `json:"published"`
				Target    int    `json:"target"`
			}) bool {
				return fmt.Sprint(p.Target) == port
			})
		}
		if !open(u.Port()) {
			t.Errorf("the data source %s is at %s, where the stack has nothing", d.UID, d.URL)
		}
		uids(d.JSON, named)
	}
	var dashboards struct {
		Providers []struct {
			Options struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	readYAML(t, filepath.Join(provisioning, "dashboards", "dashboards.yaml"), &dashboards)
	boards := 0
	for _, p := range dashboards.Providers {
		mounted := ""
		for _, v := range all["grafana"].Volumes {
			if v.Target == p.Options.Path {
				mounted = v.Source
			}
		}
		if mounted == "" {
			t.Errorf("no volume of Grafana is mounted at %s", p.Options.Path)
			continue
		}
		files, err := filepath.Glob(filepath.Join(mounted, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			boards++
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var board any
			if err := json.Unmarshal(text, &board); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			uids(board, named)
		}
	}
	if boards == 0 || len(named) == 0 {
		t.Errorf("Grafana finds %d dashboards, which name the data sources %v", boards, named)
	}
	for uid := range named {
		// A variable such as ${datasource} is filled in with a source of its type, which the default is.
		if !known[uid] && !strings.HasPrefix(uid, "$") {
			t.Errorf("the data source %s is named, and not provisioned", uid)
		}
	}
	for _, kind := range []string{"prometheus", "jaeger"} {
		if !types[kind] {
			t.Errorf("there is no data source of the type %s for the dashboards' variable", kind)
		}
	}
}

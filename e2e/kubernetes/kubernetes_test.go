// Package kubernetes holds deploy/kubernetes against the types of Kubernetes and of the Prometheus Operator, and its
// parts against each other.
package kubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
)

// build builds deploy/kubernetes with kustomize, and decodes it: a field that a type lacks, or that is there twice,
// is an error.
func build(t *testing.T) (objects []runtime.Object) {
	t.Helper()
	cmd := exec.Command("go", "tool", "kustomize", "build", "../../deploy/kubernetes")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize: %v\n%s", err, &stderr)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, core.AddToScheme, networking.AddToScheme, disruption.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(out)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Errorf("%v\n%s", err, document)
			continue
		}
		objects = append(objects, object)
	}
}

// of returns the objects of a type.
func of[T runtime.Object](objects []runtime.Object) (found []T) {
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// pod is what a workload makes.
type pod struct {
	owner string
	core.PodTemplateSpec
}

func pods(t *testing.T, objects []runtime.Object) (all []pod) {
	t.Helper()
	add := func(name string, selector *meta.LabelSelector, template core.PodTemplateSpec) {
		if !selects(t, selector, template.Labels) {
			t.Errorf("%s does not select its own pods", name)
		}
		all = append(all, pod{name, template})
	}
	for _, d := range of[*apps.Deployment](objects) {
		add(d.Name, d.Spec.Selector, d.Spec.Template)
	}
	for _, s := range of[*apps.StatefulSet](objects) {
		add(s.Name, s.Spec.Selector, s.Spec.Template)
	}
	if len(all) == 0 {
		t.Fatal("there are no pods")
	}
	return all
}

func selects(t *testing.T, selector *meta.LabelSelector, have map[string]string) bool {
	t.Helper()
	s, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(have))
}

// selected returns the pods that a selector finds, which are some.
func selected(t *testing.T, who string, selector *meta.LabelSelector, all []pod) (found []pod) {
	t.Helper()
	for _, p := range all {
		if selects(t, selector, p.Labels) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		t.Errorf("%s selects no pod", who)
	}
	return found
}

// offers reports whether a pod has a port, by name or number.
func (p pod) offers(port intstr.IntOrString) bool {
	for _, c := range p.Spec.Containers {
		for _, have := range c.Ports {
			if port.Type == intstr.String && have.Name == port.StrVal ||
				port.Type == intstr.Int && have.ContainerPort == port.IntVal {
				return true
			}
		}
	}
	return false
}

// TestSelectorsFindTheirPods asks of all that selects pods that it finds some, with the ports that it names.
func TestSelectorsFindTheirPods(t *testing.T) {
	objects := build(t)
	all := pods(t, objects)
	want := func(who string, selector *meta.LabelSelector, port intstr.IntOrString) {
		t.Helper()
		for _, p := range selected(t, who, selector, all) {
			if !p.offers(port) {
				t.Errorf("%s: the pods of %s have no port %s", who, p.owner, port.String())
			}
		}
	}
	for _, s := range of[*core.Service](objects) {
		for _, port := range s.Spec.Ports {
			want("Service "+s.Name, &meta.LabelSelector{MatchLabels: s.Spec.Selector}, port.TargetPort)
		}
	}
	for _, m := range of[*monitoring.PodMonitor](objects) {
		for _, e := range m.Spec.PodMetricsEndpoints {
			want("PodMonitor "+m.Name, &m.Spec.Selector, intstr.FromString(*e.Port))
		}
	}
	for _, b := range of[*disruption.PodDisruptionBudget](objects) {
		selected(t, "PodDisruptionBudget "+b.Name, b.Spec.Selector, all)
	}
	guarded := map[string]bool{}
	for _, n := range of[*networking.NetworkPolicy](objects) {
		for _, p := range selected(t, "NetworkPolicy "+n.Name, &n.Spec.PodSelector, all) {
			guarded[p.owner] = true
		}
		for _, rule := range n.Spec.Ingress {
			for _, port := range rule.Ports {
				want("NetworkPolicy "+n.Name, &n.Spec.PodSelector, *port.Port)
			}
		}
		for _, rule := range n.Spec.Egress {
			for _, to := range rule.To {
				for _, port := range rule.Ports {
					if to.NamespaceSelector == nil { // Within this namespace, which is all here.
						want("NetworkPolicy "+n.Name, to.PodSelector, *port.Port)
					}
				}
			}
		}
	}
	for _, p := range all {
		if !guarded[p.owner] {
			t.Errorf("no NetworkPolicy guards the pods of %s", p.owner)
		}
	}
}

// TestPodsAreConfined asks for the restricted pod security standard, which the namespace enforces, and for bounds.
func TestPodsAreConfined(t *testing.T) {
	objects := build(t)
	evaluator, err := security.NewEvaluator(security.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, p := range pods(t, objects) {
		for _, result := range evaluator.EvaluatePod(restricted, &p.ObjectMeta, &p.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s: %s", p.owner, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		if mounts := p.Spec.AutomountServiceAccountToken; mounts == nil || *mounts {
			t.Errorf("%s has a token of the API, which it does not need", p.owner)
		}
		for _, c := range p.Spec.Containers {
			name := p.owner + "/" + c.Name
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() ||
				c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: resources are not bounded: %v", name, c.Resources)
			}
			if readOnly := c.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
				t.Errorf("%s may write to its root file system", name)
			}
			if c.ReadinessProbe == nil {
				t.Errorf("%s has no readiness probe", name)
			}
			if _, tag, _ := strings.Cut(c.Image, ":"); tag == "" || tag == "latest" {
				t.Errorf("%s: the image %s has no version", name, c.Image)
			}
		}
	}
}

// TestVolumesAndHostsExist looks up each ConfigMap that is mounted, and each Service that an argument or a variable
// names.
func TestVolumesAndHostsExist(t *testing.T) {
	objects := build(t)
	var configs, services []string
	for _, c := range of[*core.ConfigMap](objects) {
		configs = append(configs, c.Name)
	}
	for _, s := range of[*core.Service](objects) {
		services = append(services, s.Name)
	}
	host := regexp.MustCompile(`\bredial-[a-z]+\b`)
	for _, p := range pods(t, objects) {
		for _, v := range p.Spec.Volumes {
			if v.ConfigMap != nil && !slices.Contains(configs, v.ConfigMap.Name) {
				t.Errorf("%s mounts the ConfigMap %s, which does not exist", p.owner, v.ConfigMap.Name)
			}
		}
		for _, c := range p.Spec.Containers {
			said := c.Args
			for _, e := range c.Env {
				if e.Name != "OTEL_SERVICE_NAME" {
					said = append(said, e.Value)
				}
			}
			for _, name := range host.FindAllString(strings.Join(said, " "), -1) {
				if !slices.Contains(services, name) {
					t.Errorf("%s names the Service %s, which does not exist", p.owner, name)
				}
			}
		}
	}
}

// TestVariablesOfTheAgentExist looks up each variable of the agent in its documentation, which a test holds against the
// code.
func TestVariablesOfTheAgentExist(t *testing.T) {
	documented, err := os.ReadFile("../../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, p := range pods(t, build(t)) {
		for _, c := range p.Spec.Containers {
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "REDIAL_") || strings.HasPrefix(e.Name, "OTEL_") {
					checked++
					// The exporters' variables are named there by their common part.
					name := strings.TrimPrefix(e.Name, "OTEL_EXPORTER_OTLP_TRACES_")
					if !strings.Contains(string(documented), "`"+name+"`") {
						t.Errorf("%s sets %s, which docs/agent.md does not list", p.owner, e.Name)
					}
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no workload configures the agent")
	}
}

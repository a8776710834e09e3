// Package manifests holds the set-ups for Kubernetes in docs/containers.md against
// Kubernetes' own types. It is a module of its own: nothing else needs those.
package manifests

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// block returns the one of the document that has this name in its first line.
func block(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n# "+name+"\n")
	block, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !ended {
		t.Fatalf("%s is not in the document", name)
	}
	return block
}

// decode takes no field that Kubernetes does not know, and no key twice.
func decode(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(block(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	var d appsv1.Deployment
	decode(t, "deployment.yaml", &d)
	kind(t, d.TypeMeta, "Deployment")
	selects(t, d.Spec.Selector, d.Spec.Template)
	service(t, d.Spec.Template.Spec)
	if !*d.Spec.Template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root is not read-only")
	}

	var s appsv1.DaemonSet
	decode(t, "daemonset.yaml", &s)
	kind(t, s.TypeMeta, "DaemonSet")
	selects(t, s.Spec.Selector, s.Spec.Template)
	service(t, s.Spec.Template.Spec)
	if !s.Spec.Template.Spec.HostNetwork {
		t.Error("the agent is not in the network of its node")
	}
}

func kind(t *testing.T, m metav1.TypeMeta, kind string) {
	t.Helper()
	if m.Kind != kind || m.APIVersion != appsv1.SchemeGroupVersion.String() {
		t.Errorf("it is a %s of %s", m.Kind, m.APIVersion)
	}
}

func selects(t *testing.T, s *metav1.LabelSelector, p corev1.PodTemplateSpec) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsMap(s)
	if err != nil || len(selector) == 0 {
		t.Fatalf("selector %v: %v", selector, err)
	}
	for key, value := range selector {
		if p.Labels[key] != value {
			t.Errorf("the selector wants %s=%s, the template has %v", key, value, p.Labels)
		}
	}
}

// service checks the times of a pod against each other, as the document says that they
// belong together.
func service(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	c := p.Containers[0]
	args := append(slices.Clone(c.Command), c.Args...)
	delay, err := time.ParseDuration(args[slices.Index(args, "-stop-delay")+1])
	if err != nil {
		t.Fatal(err)
	}
	const drain = 30 * time.Second // App.DrainTimeout, where it is not set
	if grace := time.Duration(*p.TerminationGracePeriodSeconds) * time.Second; grace < delay+drain {
		t.Errorf("the grace of %v is less than the delay of %v and the drain", grace, delay)
	}
	ready := c.ReadinessProbe
	failures := max(ready.FailureThreshold, 1)
	if ready.FailureThreshold == 0 {
		failures = 3 // Kubernetes' default
	}
	if seen := time.Duration(ready.PeriodSeconds*failures) * time.Second; delay <= seen {
		t.Errorf("the delay of %v is over before the probe has failed for %v", delay, seen)
	}
	for probe, path := range map[*corev1.Probe]string{ready: "/readyz", c.LivenessProbe: "/livez"} {
		if probe.HTTPGet == nil || probe.HTTPGet.Path != path {
			t.Errorf("no probe of %s: %v", path, probe)
		}
	}
	if c.Lifecycle != nil {
		t.Error("there is a hook, and none is needed")
	}
	mounted(t, p)
}

// mounted checks that each mount has its volume, and each volume its mount.
func mounted(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	var volumes, mounts []string
	for _, v := range p.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, m := range p.Containers[0].VolumeMounts {
		mounts = append(mounts, m.Name)
	}
	if !slices.Equal(volumes, mounts) {
		t.Errorf("the volumes are %v, the mounts %v", volumes, mounts)
	}
}

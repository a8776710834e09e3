//go:build linux

package deployed

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// The manifests of docs/containers.md, played by podman. What the kubelet and a load
// balancer do is done here, with the numbers of the manifest: readiness probes, TERM,
// and KILL after the time of grace.

const image = "example.com/hello:v1"

// pod makes a Pod of a manifest's template. Ports of containers cannot be declared where the network
// is the machine's.
func (d *deployment) pod(manifest string) string {
	d.Helper()
	_, spec, found := strings.Cut(manifest, "\n    spec:\n")
	if !found {
		d.Fatalf("there is no template in\n%s", manifest)
	}
	spec = strings.ReplaceAll("\n"+spec, "\n    ", "\n")
	spec = regexp.MustCompile(`\n +ports:\n +- .*containerPort.*`).ReplaceAllString(spec, "")
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: pod}\nspec:" + spec
}

// podContainer is the name that podman gives to the container.
const podContainer = "pod-hello"

// play starts a manifest's pod.
func (d *deployment) play(manifest string) {
	d.Helper()
	d.sh("docker tag hello " + image)
	d.write("play/pod.yaml", d.pod(manifest), 0o644)
	d.sh("cd play && docker kube play --network host pod.yaml") // elsewhere it takes the program for a directory to build
}

// number is one of a manifest's.
func (d *deployment) number(manifest, key string) int {
	d.Helper()
	found := regexp.MustCompile(key + `: (\d+)`).FindStringSubmatch(manifest)
	if found == nil {
		d.Fatalf("no %s in\n%s", key, manifest)
	}
	n, err := strconv.Atoi(found[1])
	d.check(err)
	return n
}

// TestKubernetesStop: a pod is deleted while a load balancer sends requests to it until
// the readiness probe has failed. None is lost, and without the delay some are.
func TestKubernetesStop(t *testing.T) {
	t.Parallel()
	for delay, loses := range map[string]bool{"5s": false, "0s": true} {
		t.Run(delay, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.engine()
			_, port, _ := strings.Cut(d.addr, ":")
			manifest := d.block(t, "deployment.yaml", `":8080"`, `"`+d.addr+`"`, "port: 8080", "port: "+port, `"5s"`, `"`+delay+`"`)
			d.play(manifest)
			d.serves("v1")
			if code, text, err := d.ask("/livez"); code != http.StatusOK {
				t.Errorf("livez: %d %s %v", code, text, err)
			}
			res := d.balanced(manifest, func() {
				began := time.Now()
				grace := d.number(manifest, "terminationGracePeriodSeconds")
				d.must("docker", "stop", "-t", strconv.Itoa(grace), podContainer)
				t.Logf("it ended after %v", time.Since(began).Round(time.Millisecond))
			})
			if c := d.inspect(podContainer); c.exit != 0 {
				t.Errorf("%+v", c)
			}
			if !loses {
				d.expectNoLoss(res)
			} else if res.Total().Failed == 0 {
				t.Errorf("without a delay nothing is lost: these clients do not see what they are to see\n%v", res)
			}
		})
	}
}

// balanced calls stop while clients are sent to the service, which goes on until the
// readiness probe has failed as often as the manifest says.
func (d *deployment) balanced(manifest string, stop func()) *load.Result {
	d.Helper()
	_, probe, _ := strings.Cut(manifest, "readinessProbe:")
	period := time.Duration(d.number(probe, "periodSeconds")) * time.Second
	failures := d.number(probe, "failureThreshold")
	ctx, cancel := context.WithCancel(d.Context())
	results := d.clients(ctx)
	go func() {
		defer cancel()
		for failed := 0; failed < failures && load.Pause(ctx, period); {
			if code, _, _ := d.ask("/readyz"); code == http.StatusOK {
				failed = 0
			} else {
				failed++
			}
		}
	}()
	d.check(until(ctx, func() error {
		code, text, err := d.ask("/readyz")
		if code != http.StatusOK {
			return fmt.Errorf("%s %v", text, err)
		}
		return nil
	}))
	stop()
	return <-results
}

// TestKubernetesInPlace: an agent is upgraded in its pod. kubectl is played by a script.
func TestKubernetesInPlace(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.engine()
	d.check(os.Mkdir(d.path("srv"), 0o755))
	d.copy(d.program("v1"), "srv/hello", 0o755)
	_, port, _ := strings.Cut(d.addr, ":")
	d.play(d.block(t, "daemonset.yaml", "/srv/hello", d.path("srv"), `":8080"`, `"`+d.addr+`"`, "port: 8080", "port: "+port))
	now := d.serves("v1")
	before := d.inspect(podContainer)
	d.write("kubectl", "#!/bin/sh\nif [ $1 = get ]; then echo pod/"+podContainer+"; else shift; c=${1#pod/}; shift 2; exec docker exec $c \"$@\"; fi\n", 0o755)
	d.under(func() {
		d.copy(d.program("v2"), "srv/hello.new", 0o755)
		d.check(os.Rename(d.path("srv/hello.new"), d.path("srv/hello")))
		d.sh(d.block(t, "agents.sh"))
		now = d.serves("v2", now.pid)
	})
	d.copy(d.program("broken"), "srv/hello.new", 0o755)
	d.check(os.Rename(d.path("srv/hello.new"), d.path("srv/hello")))
	if text, code := d.run("sh", "-c", d.block(t, "agents.sh")); code != 1 || !strings.Contains(text, "exit status 3") {
		t.Errorf("a broken build: exit status %d: %s", code, text)
	}
	if again := d.serves("v2"); again != now {
		t.Errorf("it was %+v, and is %+v", now, again)
	}
	if after := d.inspect(podContainer); after != before {
		t.Errorf("the container is %+v, and was %+v", after, before)
	}
}

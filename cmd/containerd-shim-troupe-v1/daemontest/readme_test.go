package daemontest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme gives each daemon the configuration that the README tells to write,
// in the place of the tests' own. Only the path in it is the tests'.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	must(t, err)
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != len(flavours) {
		t.Fatalf("the README has %d blocks of TOML for %d daemons", len(blocks), len(flavours))
	}
	eachDaemon(t, func(t *testing.T, d *daemon) {
		block := blocks[0][1]
		if d.name != flavours[0].name {
			block = blocks[1][1]
		}
		path := filepath.Join(d.Dir, "config.toml")
		config, err := os.ReadFile(path)
		must(t, err)
		ours := regexp.MustCompile(`(?m)^\[[^\n]*\.runtimes\.[^\n]*\n([^\[\n][^\n]*\n)*`).ReplaceAllString(string(config), "")
		theirs := strings.ReplaceAll(block, "/etc/containerd/runsc.toml", filepath.Join(d.Dir, "runsc.toml"))
		if strings.Contains(ours, runtimeName) || theirs == block {
			t.Fatalf("configuration:\n%s%s", ours, theirs)
		}
		d.stop(t)
		must(t, os.WriteFile(path, []byte(ours+theirs), 0o644))
		d.start(t)
		p := runPod(t, d, "troupe", "readme", nil, "/"+filepath.Base(d.Dir)+"/podreadme")
		id := p.start(t, "reads", nil, "/bin/sleep", "1000")
		if out := d.cri(t, "exec", "--sync", id, "/bin/dmesg"); !strings.Contains(out, "Starting gVisor") {
			t.Errorf("this is not gVisor's kernel: %q", out)
		}
	})
}

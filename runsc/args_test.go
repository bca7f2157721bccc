package runsc

import (
	"slices"
	"testing"
)

type path string

func (p path) Path() string { return string(p) }

func TestArgs(t *testing.T) {
	for name, test := range map[string]struct{ got, want []string }{
		"create nothing": {(&CreateOpts{}).args(), nil},
		"create": {(&CreateOpts{PidFile: "/p", ConsoleSocket: path("/s"), UserLog: "/u"}).args(),
			[]string{"--pid-file=/p", "--console-socket=/s", "--user-log=/u"}},
		"exec nothing": {(&ExecOpts{}).args(), nil},
		"exec": {(&ExecOpts{Detach: true, PidFile: "/p", InternalPidFile: "/i", ConsoleSocket: path("/s")}).args(),
			[]string{"--detach", "--pid-file=/p", "--internal-pid-file=/i", "--console-socket=/s"}},
		"kill":            {(&KillOpts{}).args(), nil},
		"kill all":        {(&KillOpts{All: true}).args(), []string{"--all"}},
		"kill one":        {(&KillOpts{PID: 7}).args(), []string{"--pid=7"}},
		"delete":          {(&DeleteOpts{}).args(), nil},
		"delete by force": {(&DeleteOpts{Force: true}).args(), []string{"--force"}},
		"checkpoint": {(&CheckpointOpts{ImagePath: "/i", LeaveRunning: true, Compression: "none"}).args(),
			[]string{"--image-path=/i", "--leave-running", "--compression=none"}},
		"restore":        {(&RestoreOpts{ImagePath: "/i", Detach: true}).args(), []string{"--image-path=/i", "--detach"}},
		"wait":           {(&WaitOpts{}).args(), nil},
		"wait one":       {(&WaitOpts{PID: 7}).args(), []string{"--rootpid=7"}},
		"global nothing": {(&Options{}).globalArgs(""), nil},
		"global": {(&Options{Root: "/r", LogFormat: "json", Platform: "systrap", Network: "none", Debug: true, DebugLog: "/d/", PanicLog: "/p",
			Config: map[string]string{"overlay2": "none", "directfs": ""}}).globalArgs("/l"),
			[]string{"--root=/r", "--log=/l", "--log-format=json", "--platform=systrap", "--network=none", "--debug=true", "--debug-log=/d/", "--panic-log=/p",
				"--directfs=", "--overlay2=none"}},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: %q, want %q", name, test.got, test.want)
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

const (
	// defaultRunscRoot is that of gVisor's shim (pkg/shim/v1/proc), so that
	// "runsc --root" of an existing installation finds our containers. The
	// namespace is joined to it.
	defaultRunscRoot = "/run/containerd/runsc"

	runcOptionsType = "containerd.runc.v1.Options"
	// CRI of containerd 1.4 and older had the second name.
	runtimeOptionsType    = "runtimeoptions.v1.Options"
	runtimeOptionsTypeOld = "cri.runtimeoptions.v1.Options"
)

// defaultConfigPaths are looked at in this order where the runtime's options
// name no file: those of gVisor's shim, and the one of its installation guide.
var defaultConfigPaths = []string{
	"/run/containerd/runsc/config.toml",
	"/etc/containerd/runsc/config.toml",
	"/etc/containerd/runsc.toml",
}

// options is the configuration, with the keys of gVisor's shim
// (pkg/shim/v1/runsc/options.go).
type options struct {
	// BinaryName is the runsc program; a name is looked up in PATH.
	BinaryName string `toml:"binary_name"`
	// Root is runsc's state folder, to which the namespace is joined.
	Root string `toml:"root"`
	// LogPath is a file, or a folder if it ends in "/", for the shim's log.
	// %ID% in it is the container's id.
	LogPath string `toml:"log_path"`
	// LogLevel is debug, info, warning or error.
	LogLevel string `toml:"log_level"`
	// Grouping puts the containers of a pod into one shim. Unlike gVisor's
	// shim, it is on if not said otherwise.
	Grouping *bool `toml:"grouping"`
	// IoUID and IoGID own the pipes of stdio.
	IoUID uint32 `toml:"io_uid"`
	IoGID uint32 `toml:"io_gid"`
	// ShimCgroup is the cgroup that the shim is put in.
	ShimCgroup string `toml:"shim_cgroup"`
	// EnableHibernateServer is of gVisor's shim only.
	EnableHibernateServer bool `toml:"enable_hibernate_server"`
	// ExecDriver is how execs are started: "auto", "control" or "cli". It is of
	// this shim only.
	ExecDriver string `toml:"exec_driver"`
	// RunscConfig are runsc's flags.
	RunscConfig map[string]string `toml:"runsc_config"`

	// warnings name what was found and not used.
	warnings []string
}

func (o options) grouped() bool { return o.Grouping == nil || *o.Grouping }

// isOptionsType tells whether a protobuf type holds runtime options.
func isOptionsType(typeURL string) bool {
	switch typeName(typeURL) {
	case runcOptionsType, runtimeOptionsType, runtimeOptionsTypeOld:
		return true
	}
	return false
}

// typeName is the message's name: a type URL may have a host in front.
func typeName(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '/')+1:] }

// readOptions reads the runtime options of a container: gVisor's, which name a
// file or carry TOML; runc's; or none, and then the default file if it exists.
func readOptions(any *anypb.Any) (options, error) {
	switch name := typeName(any.GetTypeUrl()); name {
	case "":
		return readDefaultFile()
	case runcOptionsType:
		return readRuncOptions(any.Value)
	case runtimeOptionsType, runtimeOptionsTypeOld:
		var r runtimeoptions.Options
		if err := proto.Unmarshal(any.Value, &r); err != nil {
			return options{}, invalidOptions("decode runtime options %s: %w", name, err)
		}
		switch {
		case r.ConfigPath != "":
			return readConfigFile(r.ConfigPath)
		case len(r.ConfigBody) > 0:
			return parseConfig(string(r.ConfigBody), "the runtime's options in containerd's configuration")
		}
		return readDefaultFile()
	default:
		return options{}, invalidOptions("runtime options of type %q are not known: use %s with a ConfigPath, or %s", name, runtimeOptionsType, runcOptionsType)
	}
}

func readDefaultFile() (options, error) {
	for _, path := range defaultConfigPaths {
		o, err := readConfigFile(path)
		if !errors.Is(err, os.ErrNotExist) {
			return o, err
		}
	}
	return options{}, nil
}

func readConfigFile(path string) (options, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return options{}, invalidOptions("read the shim's configuration: %w", err)
	}
	return parseConfig(string(data), path)
}

// parseConfig reads TOML. A key that is not known is named in a warning: it may
// be of a newer version. A value of the wrong type is an error.
func parseConfig(text, source string) (options, error) {
	var o options
	meta, err := toml.Decode(text, &o)
	if err != nil {
		return options{}, invalidOptions("%s: %w", source, err)
	}
	for _, key := range meta.Undecoded() {
		o.warnings = append(o.warnings, fmt.Sprintf("%s: unknown key %q is ignored", source, key))
	}
	if o.EnableHibernateServer {
		o.warnings = append(o.warnings, fmt.Sprintf("%s: enable_hibernate_server is ignored: it is for gVisor's own shim; use Checkpoint", source))
	}
	if _, err := parseLevel(o.LogLevel); err != nil {
		return options{}, invalidOptions("%s: log_level: %w", source, err)
	}
	switch o.ExecDriver {
	case "", runsc.ExecAuto, runsc.ExecControl, runsc.ExecCLI:
	default:
		return options{}, invalidOptions("%s: exec_driver %q is none of auto, control, cli", source, o.ExecDriver)
	}
	return o, nil
}

// readRuncOptions takes what means something here from the options of runc's
// shim, which some clients send whatever the runtime.
func readRuncOptions(data []byte) (options, error) {
	var r runcoptions.Options
	if err := proto.Unmarshal(data, &r); err != nil {
		return options{}, invalidOptions("decode runtime options %s: %w", runcOptionsType, err)
	}
	o, err := readDefaultFile()
	if err != nil {
		return options{}, err
	}
	setIf(&o.BinaryName, r.BinaryName)
	setIf(&o.Root, r.Root)
	setIf(&o.ShimCgroup, r.ShimCgroup)
	setIf(&o.IoUID, r.IoUid)
	setIf(&o.IoGID, r.IoGid)
	if r.SystemdCgroup {
		if o.RunscConfig == nil {
			o.RunscConfig = map[string]string{}
		}
		o.RunscConfig["systemd-cgroup"] = "true"
	}
	for name, set := range map[string]bool{
		"NoPivotRoot":  r.NoPivotRoot,
		"NoNewKeyring": r.NoNewKeyring,
		// CriuImagePath comes as the checkpoint to create from, too.
		"CriuWorkPath": r.CriuWorkPath != "",
	} {
		if set {
			o.warnings = append(o.warnings, fmt.Sprintf("option %s of runc is ignored: it has no meaning in gVisor", name))
		}
	}
	sort.Strings(o.warnings)
	return o, nil
}

func setIf[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

// checkpointOptions are those of a Checkpoint request.
type checkpointOptions struct {
	exit      bool
	imagePath string
}

func readCheckpointOptions(any *anypb.Any) (checkpointOptions, error) {
	if any == nil || len(any.Value) == 0 {
		return checkpointOptions{}, nil
	}
	if name := typeName(any.TypeUrl); name != "containerd.runc.v1.CheckpointOptions" {
		return checkpointOptions{}, invalidOptions("checkpoint options of type %q are not known", name)
	}
	var r runcoptions.CheckpointOptions
	if err := proto.Unmarshal(any.Value, &r); err != nil {
		return checkpointOptions{}, invalidOptions("decode checkpoint options: %w", err)
	}
	return checkpointOptions{exit: r.Exit, imagePath: r.ImagePath}, nil
}

// parseLevel reads the level names of gVisor's shim, which are logrus's.
func parseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "fatal", "panic":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not a level: use debug, info, warning or error", name)
}

func invalidOptions(format string, args ...any) error {
	return &messages.Error{Kind: messages.InvalidArgument, Op: "read runtime options", Err: fmt.Errorf(format, args...)}
}

// eachField calls f with each bytes field of an encoded message, for messages
// whose generated code is not worth its weight. It ends at what is malformed.
func eachField(data []byte, f func(number int, value []byte)) {
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return
		}
		data = data[size:]
		if kind == protowire.BytesType {
			value, size := protowire.ConsumeBytes(data)
			if size < 0 {
				return
			}
			f(int(number), value)
			data = data[size:]
			continue
		}
		if size = protowire.ConsumeFieldValue(number, kind, data); size < 0 {
			return
		}
		data = data[size:]
	}
}

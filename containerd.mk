# containerd.mk: real containerd, its rivals, and the shim's place on a machine.
# Included by the Makefile; every target works alone too (make -f containerd.mk).

BIN     ?= $(CURDIR)/bin
PREFIX  ?= /usr/local
DESTDIR ?=
GO      ?= go

CONTAINERD_2_VERSION   := v2.4.2
CONTAINERD_1_7_VERSION := v1.7.35
RUNC_VERSION           := v1.5.1
CRI_TOOLS_VERSION      := v1.36.0
GVISOR_VERSION         := v0.0.0-20260905035102-160fafc42237

CONTAINERD_2   := $(BIN)/containerd-2
CONTAINERD_1_7 := $(BIN)/containerd-1.7
RIVALS         := $(BIN)/rivals

# Modules with replace directives refuse "go install pkg@version". A module of
# one line that requires them builds all of these programs in one way.
#   $(call build-module,NAME,VERSION,OUTPUT FOLDER,PACKAGES,ENVIRONMENT)
define build-module
	@mkdir -p $(BIN)/.build/$(1) $(3)
	@cd $(BIN)/.build/$(1) && printf 'module build\n\ngo 1.26\n' > go.mod && rm -f go.sum
	cd $(BIN)/.build/$(1) && GOFLAGS=-mod=mod GOWORK=off $(GO) get $(addsuffix @$(2),$(4))
	cd $(BIN)/.build/$(1) && GOFLAGS=-mod=mod GOWORK=off $(5) $(GO) build -trimpath -o $(3)/ $(4)
endef

.PHONY: containerd shim test-containerd bench-containerd install uninstall containerd-packages

## containerd: both containerds, ctr, crictl, runc and the rival shims, into bin/
containerd: $(CONTAINERD_2)/containerd $(CONTAINERD_2)/containerd-shim-runc-v2 $(CONTAINERD_1_7)/containerd $(CONTAINERD_1_7)/containerd-shim-runc-v2 $(BIN)/runc $(BIN)/crictl $(RIVALS)/containerd-shim-runsc-v1

$(CONTAINERD_2)/containerd:
	$(call build-module,containerd-2,$(CONTAINERD_2_VERSION),$(CONTAINERD_2),github.com/containerd/containerd/v2/cmd/containerd github.com/containerd/containerd/v2/cmd/ctr,CGO_ENABLED=0)

# Each as its own Makefile builds it for a release: a comparison with a larger
# build would flatter us.
$(CONTAINERD_2)/containerd-shim-runc-v2:
	$(call build-module,containerd-2-shim,$(CONTAINERD_2_VERSION),$(CONTAINERD_2),github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2,GOFLAGS='-mod=mod -tags=no_grpc -ldflags=-s' CGO_ENABLED=0)

$(CONTAINERD_1_7)/containerd-shim-runc-v2:
	$(call build-module,containerd-1.7-shim,$(CONTAINERD_1_7_VERSION),$(CONTAINERD_1_7),github.com/containerd/containerd/cmd/containerd-shim-runc-v2,GOFLAGS='-mod=mod -ldflags=-s' CGO_ENABLED=0)

$(CONTAINERD_1_7)/containerd:
	$(call build-module,containerd-1.7,$(CONTAINERD_1_7_VERSION),$(CONTAINERD_1_7),github.com/containerd/containerd/cmd/containerd github.com/containerd/containerd/cmd/ctr,CGO_ENABLED=0)

# runc's nsenter is C.
$(BIN)/runc:
	$(call build-module,runc,$(RUNC_VERSION),$(BIN),github.com/opencontainers/runc,CGO_ENABLED=1)

$(BIN)/crictl:
	$(call build-module,cri-tools,$(CRI_TOOLS_VERSION),$(BIN),sigs.k8s.io/cri-tools/cmd/crictl,CGO_ENABLED=0)

# gVisor's own shim, to compare with. Lowering an OOM score needs
# CAP_SYS_RESOURCE, and without it that shim does not start: the one line is
# made tolerant in a vendored copy, so that it can be measured everywhere.
$(RIVALS)/containerd-shim-runsc-v1:
	@mkdir -p $(BIN)/.build/gvisor-shim $(RIVALS)
	cd $(BIN)/.build/gvisor-shim && printf 'module build\n\ngo 1.26\n' > go.mod && rm -rf go.sum vendor \
		&& printf 'package build\n\nimport _ "gvisor.dev/gvisor/pkg/shim/v1/plugin"\n' > build.go \
		&& GOFLAGS=-mod=mod GOWORK=off $(GO) get gvisor.dev/gvisor@$(GVISOR_VERSION) \
		&& cp $$(GOFLAGS=-mod=mod GOWORK=off $(GO) list -m -f '{{.Dir}}' gvisor.dev/gvisor)/shim/main.go . && chmod u+w main.go && rm build.go \
		&& GOFLAGS=-mod=mod GOWORK=off $(GO) mod tidy && GOWORK=off $(GO) mod vendor \
		&& sed -i 's/oomScoreMax); err != nil {/oomScoreMax); err != nil \&\& !os.IsPermission(err) {/' vendor/gvisor.dev/gvisor/pkg/shim/v1/manager.go \
		&& GOWORK=off CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o $@ .

## shim: containerd-shim-troupe-v1 into bin/
# no_grpc leaves gRPC out of containerd's API, as containerd's own shims do; cgo
# would bring libc. Each is a megabyte of every pod on a node.
shim:
	CGO_ENABLED=0 $(GO) build -tags no_grpc -trimpath -ldflags '-s -w' -o $(BIN)/containerd-shim-troupe-v1 ./cmd/containerd-shim-troupe-v1

## containerd-packages: what the tests need from the distribution
containerd-packages:
	@command -v busybox >/dev/null && test -x /usr/lib/cni/bridge || { apt-get update -qq && apt-get install -y -qq busybox-static containernetworking-plugins; }

## test-containerd: the shim under real containerd 1.7 and 2 (root)
test-containerd: containerd-packages containerd shim
	cd cmd/containerd-shim-troupe-v1/daemontest && GOWORK=off $(GO) test -count=1 -timeout 20m ./...

## bench-containerd: what the shim costs, beside its rivals (root)
bench-containerd: containerd-packages containerd shim
	cd cmd/containerd-shim-troupe-v1/daemontest && GOWORK=off $(GO) test -run '^$$' -bench Shim -benchtime 1x -timeout 20m ./...

## install: the shim and a configuration (PREFIX, DESTDIR)
install: shim
	install -D -m 0755 $(BIN)/containerd-shim-troupe-v1 $(DESTDIR)$(PREFIX)/bin/containerd-shim-troupe-v1
	@test -e $(DESTDIR)/etc/containerd/runsc.toml || install -D -m 0644 cmd/containerd-shim-troupe-v1/runsc.toml $(DESTDIR)/etc/containerd/runsc.toml
	@echo "installed; containerd must be told of it: see cmd/containerd-shim-troupe-v1/README.md"

## uninstall: what install put there, but for the configuration
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/containerd-shim-troupe-v1

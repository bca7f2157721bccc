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
#   $(call build-module,NAME,MODULE,VERSION,OUTPUT FOLDER,PACKAGES,ENVIRONMENT)
define build-module
	@mkdir -p $(BIN)/.build/$(1) $(4)
	@cd $(BIN)/.build/$(1) && printf 'module build\n\ngo 1.26\n' > go.mod && rm -f go.sum
	cd $(BIN)/.build/$(1) && GOFLAGS=-mod=mod GOWORK=off $(GO) get $(addsuffix @$(3),$(5))
	cd $(BIN)/.build/$(1) && GOFLAGS=-mod=mod GOWORK=off $(6) $(GO) build -trimpath -o $(4)/ $(5)
endef

.PHONY: containerd shim test-containerd bench-containerd install uninstall containerd-packages

## containerd: both containerds, ctr, crictl, runc and the rival shims, into bin/
containerd: $(CONTAINERD_2)/containerd $(CONTAINERD_1_7)/containerd $(BIN)/runc $(BIN)/crictl $(RIVALS)/containerd-shim-runsc-v1

$(CONTAINERD_2)/containerd:
	$(call build-module,containerd-2,,$(CONTAINERD_2_VERSION),$(CONTAINERD_2),github.com/containerd/containerd/v2/cmd/containerd github.com/containerd/containerd/v2/cmd/ctr github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2,CGO_ENABLED=0)

$(CONTAINERD_1_7)/containerd:
	$(call build-module,containerd-1.7,,$(CONTAINERD_1_7_VERSION),$(CONTAINERD_1_7),github.com/containerd/containerd/cmd/containerd github.com/containerd/containerd/cmd/ctr github.com/containerd/containerd/cmd/containerd-shim-runc-v2,CGO_ENABLED=0)

# runc's nsenter is C.
$(BIN)/runc:
	$(call build-module,runc,,$(RUNC_VERSION),$(BIN),github.com/opencontainers/runc,CGO_ENABLED=1)

$(BIN)/crictl:
	$(call build-module,cri-tools,,$(CRI_TOOLS_VERSION),$(BIN),sigs.k8s.io/cri-tools/cmd/crictl,CGO_ENABLED=0)

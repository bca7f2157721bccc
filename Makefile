# Every target works on a fresh machine with Go, make and root; what else it
# needs it builds into bin/, pinned, or installs.

BIN := $(CURDIR)/bin
GO  ?= go

.DEFAULT_GOAL := help

# containerd, its rivals, and the shim's place on a machine; load and soak; the
# simulation.
include containerd.mk load.mk simulate.mk

STATICCHECK_VERSION := v0.8.2

# How long `make fuzz` spends on each target.
FUZZTIME  ?= 10s
# The modules of this tree: two of tests need what no user of this one should
# have to require, gVisor's packages and containerd's client.
MODULES   := . runsc/controltest cmd/containerd-shim-troupe-v1/daemontest
# Which tests: make test RUN=TestPlay
RUN       ?= .
TESTTIME  ?= 20m
# Which benchmarks, and for how long: make bench BENCH=ExecStart
BENCH     ?= .
BENCHTIME ?= 1s

# Tests find their runsc by this, and one of 2022, which has another control
# socket, by the other.
export TROUPE_RUNSC ?= $(BIN)/runsc
export TROUPE_OLD_RUNSC ?= $(BIN)/runsc-2022

.PHONY: help build run test race lint fuzz bench storm cover clean packages

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): /\1|/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '  make %-20s %s\n' "$$target" "$$text"; done

## build: the program, into bin/troupe
build:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/troupe ./cmd/troupe

## run: play a demonstration in a real sandbox
run: build bin/runsc
	@echo
	@bin/troupe play cmd/troupe/demo.play

## test: every test, those against real runsc too, and the actors' with the race detector
test: packages bin/runsc bin/runsc-2022
	$(GO) test -timeout $(TESTTIME) -run '$(RUN)' ./...
	$(GO) test -timeout $(TESTTIME) -run '$(RUN)' -race ./messages/... ./actors/...
	cd runsc/controltest && GOWORK=off CGO_ENABLED=0 $(GO) test ./...
	$(MAKE) test-containerd

## race: every test with the race detector
race: packages bin/runsc bin/runsc-2022
	$(GO) test -timeout $(TESTTIME) -run '$(RUN)' -race ./...

## lint: gofmt, go vet and staticcheck
lint: bin/staticcheck
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l) && \
		if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" $$unformatted; exit 1; fi
	@set -e; for module in $(MODULES); do \
		echo "cd $$module && go vet ./... && staticcheck ./..."; \
		(cd $$module && GOWORK=off $(GO) vet ./... && GOWORK=off $(BIN)/staticcheck ./...); \
	done
	@# One look-up of a method by a name that the linker can not know, in any
	@# dependency, makes it keep every method of all: 2.7 MB of the shim.
	@if $(GO) build -tags no_grpc -ldflags=-dumpdep -o /dev/null ./cmd/containerd-shim-troupe-v1 2>&1 | grep '<ReflectMethod>'; then \
		echo "the linker can not drop unused methods of the shim, because of these"; exit 1; fi

## fuzz: each fuzz target for FUZZTIME=10s
fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -run '^$$' -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
		done; \
	done

## bench: the benchmarks of bench/, BENCHTIME=1s each; that of live execs takes a quarter of an hour; BENCH=ExecStart runs one
bench: bin/runsc
	$(GO) test -timeout 2h -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) ./bench/...

## storm: a hundred thousand execs in one sandbox, which leave everything as it was
storm: bin/runsc
	TROUPE_STORM=100000 $(GO) test -count=1 -timeout 30m -run TestAStormOfExecs -v ./runsc

## cover: the tests' coverage, in bin/cover.html
cover: packages bin/runsc bin/runsc-2022
	$(GO) test -timeout $(TESTTIME) -coverpkg=./... -coverprofile bin/cover.out ./...
	$(GO) tool cover -html bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func bin/cover.out | tail -1

## clean: remove what was built
clean:
	rm -rf bin
	$(GO) clean -testcache

# What tests need of the machine: busybox for root file systems, and a C
# compiler for the race detector.
packages:
	@set -e; missing=""; \
	command -v busybox >/dev/null || missing="$$missing busybox-static"; \
	command -v cc >/dev/null || command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install:$$missing"; exit 1; }; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# A stamp with the version in its name: another version builds anew. Without
# cgo, or runsc could not run itself in its empty root.
bin/runsc: bin/.runsc-$(GVISOR_VERSION)
	CGO_ENABLED=0 GOBIN=$(BIN) $(GO) install gvisor.dev/gvisor/runsc@$(GVISOR_VERSION)
	@touch $@

# Debian's package of runsc is of December 2022. It is unpacked, not installed.
bin/runsc-2022:
	@mkdir -p bin/.build/runsc-2022
	@cd bin/.build/runsc-2022 && { apt-get download -qq runsc || { apt-get update -qq && apt-get download -qq runsc; }; }
	dpkg-deb -x bin/.build/runsc-2022/runsc_*.deb bin/.build/runsc-2022
	cp bin/.build/runsc-2022/usr/bin/runsc $@

bin/staticcheck: bin/.staticcheck-$(STATICCHECK_VERSION)
	GOBIN=$(BIN) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@touch $@

bin/.runsc-$(GVISOR_VERSION):
	@mkdir -p bin && rm -f bin/.runsc-* && touch $@

bin/.staticcheck-$(STATICCHECK_VERSION):
	@mkdir -p bin && rm -f bin/.staticcheck-* && touch $@

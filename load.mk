# load.mk: load on real sandboxes: a soak, and the comparison with other shims.
# Included by the Makefile, after containerd.mk.

# How long to soak, and how many execs at once.
MINUTES ?= 30
AT_ONCE ?= 8
# Where the soak's reports go.
SOAK_DIR ?= $(BIN)/soak

# gVisor's shim again, with room for 4,096 exits in place of 32 in each
# subscription: with 32 it stalls above eight execs at once, because what starts
# does not read its subscription, so its figures there say nothing of the rest.
WIDE := $(RIVALS)/containerd-shim-runscwide-v1

.PHONY: soak bench-peers rivals

## soak: a pod under every kind of exec for MINUTES (30), fails on a leak or a lost event (root)
soak: build bin/runsc
	@mkdir -p $(SOAK_DIR)
	$(BIN)/troupe load --runsc $(BIN)/runsc --containers 2 --at-once $(AT_ONCE) --duration $(MINUTES)m \
		--mix true=6,sleep=3,output=1 --lifetime 200ms --output-size 256K --kill 15% --cancel 10% --terminal 10% \
		--leaks --html $(SOAK_DIR)/soak.html --json $(SOAK_DIR)/soak.json
	@echo "the charts are in $(SOAK_DIR)/soak.html"

## bench-peers: this shim beside runc's and gVisor's own, into bench/RESULTS.md (root)
bench-peers: containerd-packages containerd shim rivals bin/runsc
	$(GO) run ./bench/peers -bin $(BIN) -out bench

rivals: $(RIVALS)/containerd-shim-runsc-v1 $(WIDE)

$(WIDE): $(RIVALS)/containerd-shim-runsc-v1
	rm -rf $(BIN)/.build/gvisor-shim-wide && cp -r $(BIN)/.build/gvisor-shim $(BIN)/.build/gvisor-shim-wide
	cd $(BIN)/.build/gvisor-shim-wide \
		&& sed -i 's/^const bufferSize = 32$$/const bufferSize = 4096/' $$(grep -rl '^const bufferSize = 32$$' vendor --include=reaper_unix.go) \
		&& GOWORK=off CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o $@ .

# simulate.mk: the seeded simulation of the real actors (actors/sim_test.go).
# Included by the Makefile; it works alone too (make -f simulate.mk simulate).

GO    ?= go
SEEDS ?= 20000
FIRST ?= 1
SEED  ?= 0

.PHONY: simulate

## simulate: SEEDS=20000 runs of the actors under faults, from FIRST=1 on; SEED=x replays one
simulate:
	$(GO) test ./actors -count 1 -timeout 0 -run '^TestSimulate$$' -v -seeds $(SEEDS) -first $(FIRST) -seed $(SEED) -progress

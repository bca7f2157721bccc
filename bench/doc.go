// Package bench has the load benchmarks: what the actors cost, beside other
// ways to do the same. `make bench` runs them.
package bench

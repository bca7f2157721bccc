// Package controltest holds the control client of package runsc to gVisor's own
// types and code. It is a module of its own, so that neither programs nor other
// modules that use Troupe get gVisor's requirements with it.
//
// The contract is in ../testdata/control: what gVisor's client sends, what its
// server answers, and what `runsc exec` makes of process specs, all of it
// written by gVisor's packages. The tests here check that it is still so, and
// with -rewrite write it anew; the tests of package runsc check that the
// client does the same.
package controltest

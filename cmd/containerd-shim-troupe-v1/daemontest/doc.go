// Package daemontest tests the shim under real containerd, 1.7 and 2.
//
// Its tests run as root in mount, pid and network namespaces of their own, so
// that a failed or killed run leaves nothing behind: no daemon, shim, sandbox,
// mount or network. They need the daemons in bin/ ("make containerd"), runsc
// and the shim ("make shim").
//
// It is a module of its own, because containerd's client brings two hundred
// modules that nothing else here needs.
package daemontest

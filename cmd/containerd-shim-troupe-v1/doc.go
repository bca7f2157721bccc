// Command containerd-shim-troupe-v1 is containerd's runtime
// "io.containerd.troupe.v1": gVisor sandboxes, run by Troupe's actors.
//
// It only translates. An RPC becomes a command to the actors, a reply becomes
// a response, an event becomes a topic; every decision about a process is made
// in package actors.
//
// # The binary contract
//
// containerd runs the program in the bundle's folder (core/runtime/v2 of its
// source):
//
//	containerd-shim-troupe-v1 -namespace NS -id ID -address ADDR [-debug] start
//
// finds the shim of the container's group or starts one (the same program
// without an action) and prints where it listens. containerd 2.3 and later
// write bootstrap parameters to stdin and read a protobuf; older ones write
// their runtime options and read JSON. Both are served, because both are in
// use; containerd's own shim package serves the first only (containerd#13910).
//
//	containerd-shim-troupe-v1 ... -bundle DIR delete
//
// cleans up after a shim that is gone and prints how its container ended.
// -info prints what the runtime can do, -v its version.
//
// # Files in a bundle
//
//	address       the shim's socket; containerd 1.x reads it after a restart
//	log           a FIFO that containerd reads the shim's log from
//	troupe.json   what "delete" needs to know of a shim that is gone
//	options.pb    the runtime options that "start" was told, for the sandbox API
//	exit.json     how the init ended, written before the exit is told
package main

// Package actors runs the processes of gVisor sandboxes as actors.
package actors

// The compiler takes a function without a body, which exec_test.go declares to
// reach one of gVisor's, only in a package with a file of assembly.

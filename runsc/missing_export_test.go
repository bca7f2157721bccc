package runsc

import (
	"os"
	"testing"
)

// Missing skips a test for what the machine lacks, and says what. With
// TROUPE_REQUIRE=1, as in continuous integration, that is a failure: a skip
// would hide one there.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("TROUPE_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

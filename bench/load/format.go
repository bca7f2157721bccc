package load

import (
	"fmt"
	"strconv"
	"time"
)

// Duration is three digits and a unit: "1.23 ms".
func Duration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + " ms"
	}
	return digits(d.Seconds()) + " s"
}

// Bytes is three digits and a binary unit: "12.3 MiB".
func Bytes(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 && f > -1024 {
			if unit == "B" {
				return strconv.FormatInt(n, 10) + " B"
			}
			return digits(f) + " " + unit
		}
		f /= 1024
	}
	return digits(f) + " TiB"
}

// digits keeps three significant ones.
func digits(f float64) string {
	switch {
	case f >= 99.95 || f <= -99.95:
		return fmt.Sprintf("%.0f", f)
	case f >= 9.995 || f <= -9.995:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

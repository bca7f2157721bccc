package main

import (
	"fmt"
	"strconv"
	"strings"
)

// counts is a flag: how many live execs there are when memory is looked at, one
// after the other in one container, so each has more than the one before.
type counts []int

func (c *counts) String() string {
	var parts []string
	for _, n := range *c {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ",")
}

// Set implements flag.Value.
func (c *counts) Set(text string) error {
	*c = nil
	last := 0
	for _, part := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n <= last {
			return fmt.Errorf("%q is no number above %d: use rising numbers, as 50,500,2000", part, last)
		}
		*c, last = append(*c, n), n
	}
	return nil
}

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-run/troupe/bench/load"
)

// share is a flag's value from 0 to 1, written as 10% or 0.1.
type share float64

func (s *share) String() string {
	return strconv.FormatFloat(float64(*s)*100, 'g', 4, 64) + "%"
}

func (*share) Type() string { return "SHARE" }

func (s *share) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("use a share such as 10%% or 0.1")
	}
	*s = share(f)
	return nil
}

// size is a flag's number of bytes, written as 4096, 64K, 1M or 2G.
type size int64

func (s *size) String() string { return load.Bytes(int64(*s)) }

func (*size) Type() string { return "SIZE" }

func (s *size) Set(text string) error {
	number, shift := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(text), "B"), "I"), 0
	for i, unit := range []string{"K", "M", "G"} {
		if n, ok := strings.CutSuffix(number, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > 1<<40>>shift {
		return fmt.Errorf("use a number of bytes such as 4096, 64K, 1M or 2G")
	}
	*s = size(n << shift)
	return nil
}

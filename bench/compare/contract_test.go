//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This test is excluded from -race builds, because the race detector reports races in other
// libraries.
func TestContractTableInREADMEIsCurrent(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var b strings.Builder
	judge(subjects(fleet(t, compared))).write(&b)
	if !strings.Contains(string(readme), b.String()) {
		t.Errorf("bench/README.md is out of date; in bench, run `go run ./compare -write`. It should contain:%s", b.String())
	}
}

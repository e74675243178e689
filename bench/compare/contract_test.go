//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test does not run with the race detector, which finds races in other libraries.
func TestContractTableInREADMEIsCurrent(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var b strings.Builder
	judge(subjects(fleet(t, compared))).write(&b)
	if !strings.Contains(string(readme), b.String()) {
		t.Errorf("README.md is out of date: run go run ./compare -write. It should contain:%s", b.String())
	}
}

//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This is not for the race detector, which finds the races of other libraries.
func TestTheMatrixInTheREADMEIsWhatTheSuiteSays(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var b strings.Builder
	judge(subjects(fleet(t, compared))).write(&b)
	if !strings.Contains(string(readme), b.String()) {
		t.Errorf("go run ./compare -write writes it anew:%s", b.String())
	}
}

package iamhttp_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryBlockOfCodeInTheREADMEIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	examples, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	compiled := flatten(string(examples))
	blocks := 0
	for i, part := range strings.Split(string(readme), "```") {
		if i%2 == 0 {
			continue
		}
		code, isGo := strings.CutPrefix(part, "go\n")
		require.True(t, isGo, "a fenced block that is not Go: %s", part)
		blocks++
		assert.Contains(t, compiled, flatten(code), "no example contains this block of README.md")
	}
	assert.Positive(t, blocks)
}

// flatten takes the indentation from each line.
func flatten(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

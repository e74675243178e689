package iamhttp_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// The module that measures it compares the two as well, but what is outside a
// module does not make the go command run its tests again.
func TestTheTableOfSDKsInTheREADMEIsTheMeasuredOne(t *testing.T) {
	measured, err := os.ReadFile("adapters/compat/TABLE.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module as the proxy serves it has no modules inside")
	}
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(readme), "<!-- sdk table, written by: ")
	require.True(t, found)
	_, after, _ = strings.Cut(after, "-->\n")
	block, _, found := strings.Cut(after, "<!-- end of sdk table -->")
	require.True(t, found)
	assert.True(t, strings.Contains(string(measured), block), "TABLE.md has another table; the line above README.md's writes both")
}

// flatten takes the indentation from each line.
func flatten(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

func TestEveryTestThatSECURITYNamesExists(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var tests []byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		tests = append(tests, b...)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[^`]*)`").FindAllSubmatch(text, -1)
	assert.Greater(t, len(names), 30)
	for _, name := range names {
		assert.Contains(t, string(tests), "func "+string(name[1])+"(")
	}
}

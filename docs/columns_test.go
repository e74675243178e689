package docs

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// This test skips complete runs of bulk, sdk, provider and redisgate's fleet example,
// because they need a service or take half a minute. The tests of bulk and provider check
// the width of that output, in virtual time.
func TestOutputOfTheExamplesFits80Columns(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "../examples/quickstart", "../examples/explain", "../examples/bulk", "../examples/sdk").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, command := range []string{
		"quickstart", "quickstart -h", "quickstart nonsense",
		"explain", "explain 503", "explain 429", "explain quota", "explain IAM.0061", "explain -h", "explain nonsense",
		"bulk -h", "bulk nonsense",
		"sdk -h", "sdk",
	} {
		words := strings.Fields(command)
		out, err := exec.Command(filepath.Join(dir, words[0]), words[1:]...).CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) { // the commands may exit with an error
			require.NoError(t, err, command)
		}
		assert.NotEmpty(t, out, command)
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSuffix(line, "\n")
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 80, "%s prints a line of more than 80 columns: %s", command, line)
		}
	}
}

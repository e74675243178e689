package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// This test runs examples/provider, which does the work of a Terraform provider. The test
// does not check how long the work takes, because the time depends on the machine. The
// program's own tests check the time, in virtual time.
func TestProviderJobNeedsAtMostFivePercentMoreRequestsThanIdeal(t *testing.T) { //nolint:tparallel // the subtests share a limit
	t.Parallel()
	front := at(t, nginxJob)
	// Fifty requests at once exceed the burst of 20 by thirty. The job with that
	// parallelism is therefore twice as large: thirty requests are 2.5% of it.
	for parallel, each := range map[string]string{"10": "50", "50": "100"} {
		t.Run("parallelism "+parallel, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "run", ".", "-each", each, "-rate", "20", "-parallel", parallel, "-only", "one line and a gate")
			cmd.Dir = "../examples/provider"
			cmd.Env = append(os.Environ(), "GOWORK=off", "OS_AUTH_URL="+front+"/v3", "OS_USERNAME=admin", "OS_PASSWORD="+adminPassword,
				"OS_PROJECT_NAME=admin")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			row := func(name string) (requests, failed, created float64) {
				found := regexp.MustCompile(`(?m)^\| ` + name + ` \| (\d+) \| \d+ \| (\d+) \| (\d+) \| \S+ s \|$`).FindSubmatch(out)
				require.NotNil(t, found, "%s", out)
				var n [3]float64
				for i := range n {
					n[i], err = strconv.ParseFloat(string(found[i+1]), 64)
					require.NoError(t, err)
				}
				return n[0], n[1], n[2]
			}
			requests, failed, created := row("one line and a gate")
			needed, _, all := row("ideal")
			assert.Zero(t, failed)
			assert.InDelta(t, all, created, 0)
			assert.LessOrEqual(t, requests, 1.05*needed)
			t.Logf("%s", out)
		})
	}
}

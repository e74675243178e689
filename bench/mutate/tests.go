package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A suite is tests that should notice.
type suite struct {
	module string // its directory
	pkg    string
	tests  string        // a pattern of the tests; "": all
	skip   string        // a pattern of those that are left out
	most   time.Duration // that they may take
}

// controller is where the controller of the gate is. That it sends as it should
// is not to be seen in single steps: its goals are part of its tests.
const controller = "internal/bracket/"

// suites returns the tests for a file, the fastest first: the later ones run if
// those before have not noticed.
func suites(file string) []suite {
	root := []suite{{".", ".", "", skipped + "|" + slow, 10 * time.Second}, {".", ".", "", skipped, time.Minute}}
	if !strings.HasPrefix(file, controller) {
		return root
	}
	const some = "^TestTheGateReachesItsGoals$/in//_(seconds|absent)_1000@(once|2)_" // all would take half a minute
	return append([]suite{{".", "./internal/bracket", "", none, 20 * time.Second}, {"bench", "./overload", some, none, time.Minute}}, root...)
}

// skipped are tests that take long and look at the whole, where a mutant would
// be noticed by chance, and one that builds what is not broken.
const skipped = "^(TestSoak|TestAMillionAccounts.*|TestAHundredThousandLies.*|TestTenThousand.*|TestTheFirstStepsBuild.*)$"

// slow are those that take most of the time of the others: they come last.
const slow = "^(ExampleGate|TestAfterAnOutage|TestNoTurnIsLost|TestForgettingAndUsing|TestAnUpload|TestAStalledErrorBody|TestAHeaderThatNeverEnds|" +
	"TestAnHTTP2ServerThatRefusesForEver|TestACompressedBomb|TestABodyThatDrips|TestADiscardedBodyThatDrips|TestAHundredThousandLines)"

const none = "^$"

// counting are tests that count allocations, which are more where all mutants
// are in one program.
const counting = "^(TestASuccessAddsNo|TestATypedErrorCosts|TestARepeatCosts|TestAGateAddsNoAllocation|TestIsDoesNotAllocate)"

// A verdict is what becomes of a mutant.
type verdict int

const (
	survives verdict = iota
	killed
	tooLate // the time was over before the tests were
	invalid // it does not compile
)

// program is where the tests of s are, compiled.
func (s suite) program(tmp string) string {
	return filepath.Join(tmp, filepath.Base(filepath.Join(s.module, s.pkg))+".test")
}

// run runs the tests of s, but for those that not matches as well, with a mutant,
// 0 for none.
func (s suite) run(dir, tmp, not string, mutant int) (verdict, []byte, error) {
	cmd := exec.Command(s.program(tmp), "-test.failfast", "-test.timeout="+s.most.String(), "-test.run="+s.tests, "-test.skip="+s.skip+"|"+not)
	cmd.Dir = filepath.Join(dir, s.module, s.pkg)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", number, mutant))
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("panic: test timed out after")):
		return tooLate, out, nil
	case err != nil && errors.As(err, new(*exec.ExitError)):
		return killed, out, nil
	}
	return survives, out, err
}

// try runs all tests that should notice a mutant of a file, until some do.
func try(dir, tmp, file, not string, mutant int) (verdict, error) {
	for _, s := range suites(file) {
		if v, _, err := s.run(dir, tmp, not, mutant); err != nil || v != survives {
			return v, err
		}
	}
	return survives, nil
}

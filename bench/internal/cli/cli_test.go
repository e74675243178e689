package cli

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestExitStatusIs0ForHelpAnd2ForWrongArguments(t *testing.T) {
	for _, tt := range []struct {
		args           []string
		fails          error
		code           int
		stdout, stderr string
	}{
		{[]string{"-n", "1"}, nil, 0, "", ""},
		{[]string{"-h"}, nil, 0, "usage\n", ""},
		{[]string{"-nonsense"}, nil, 2, "", "p: flag provided but not defined: -nonsense; -h lists the flags\n"},
		{[]string{"nonsense"}, nil, 2, "", "p: unexpected argument \"nonsense\"; -h lists the flags\n"},
		{nil, Wrong(errors.New("no such name")), 2, "", "p: no such name; -h lists the flags\n"},
		{nil, errors.New(strings.Repeat("name ", 16)), 1, "", "p:" + strings.Repeat(" name", 15) + "\nname\n"},
		{nil, errors.New("it broke"), 1, "", "p: it broke\n"},
	} {
		var out, errs strings.Builder
		code := Run("p", "usage\n", func() error {
			flags := flag.NewFlagSet("p", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			flags.Int("n", 0, "")
			if err := Parse(flags, tt.args); err != nil {
				return err
			}
			return tt.fails
		}, &out, &errs)
		assert.Equal(t, tt.code, code, tt.args)
		assert.Equal(t, tt.stdout, out.String())
		assert.Equal(t, tt.stderr, errs.String())
	}
}

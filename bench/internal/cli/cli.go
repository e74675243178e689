// Package cli makes all programs in this module handle -h, wrong arguments and errors in
// the same way.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A wrong is an error that is caused by wrong arguments.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

// Wrong marks err as caused by wrong arguments, so that Run returns 2.
func Wrong(err error) error { return wrong{err} }

// Parse parses args, all of which must be flags. It marks its errors with Wrong.
func Parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return wrong{err}
	}
	if flags.NArg() > 0 {
		return wrong{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	}
	return nil
}

// Run calls program and returns the exit status for the process. If program returns
// flag.ErrHelp, Run prints usage to stdout and returns 0. Run prints any other error to
// stderr, and returns 2 if the error is marked with Wrong, else 1.
func Run(name, usage string, program func() error, stdout, stderr io.Writer) int {
	err := program()
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case errors.As(err, new(wrong)):
		fmt.Fprint(stderr, folded(fmt.Sprintf("%s: %v; -h lists the flags", name, err)))
		return 2
	}
	fmt.Fprint(stderr, folded(fmt.Sprintf("%s: %v", name, err)))
	return 1
}

// folded wraps text at 80 columns, because an error may list many names.
func folded(text string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column > 0 && column+1+n > 80:
			b.WriteString("\n")
			column = 0
		case column > 0:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
}

// Command explain prints what the IAM API documents about status codes, and
// what an iamhttp.Transport does with them.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/iamhttp/iamhttp"
)

const usage = `usage: go run ./examples/explain [code or title ...]

Prints what the IAM API documents about status codes, and what a Transport does
with them:
  go run ./examples/explain 503
  go run ./examples/explain 429 NotFound "request time-out"
Without an argument it prints all documented codes, one line each.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without the process around it. It returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		table(stdout)
		return 0
	}
	switch args[0] {
	case "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	var codes []int
	var errs []error
	for _, arg := range args {
		code, err := parse(arg)
		codes, errs = append(codes, code), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(stderr, "%v\nWithout an argument, explain lists the documented codes and their titles.\n", err)
		return 2
	}
	for i, code := range codes {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		explain(stdout, iamhttp.Classify(code))
	}
	return 0
}

// parse returns the status code that an argument means, by number or by title.
func parse(arg string) (int, error) {
	if n, err := strconv.Atoi(arg); err == nil {
		if n < 100 || n > 999 {
			return 0, fmt.Errorf("%q is not a status code: these have three digits, from 100 on", arg)
		}
		return n, nil
	}
	// The documentation's titles and those of net/http; they differ for some.
	for n := 100; n < 600; n++ {
		for _, title := range []string{iamhttp.Classify(n).Title, http.StatusText(n)} {
			if title != "" && strings.EqualFold(bare.Replace(arg), bare.Replace(title)) {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is neither a status code nor the title of one", arg)
}

// bare takes out what titles are written with and without.
var bare = strings.NewReplacer(" ", "", "-", "")

func explain(w io.Writer, s iamhttp.Semantics) {
	documented := "yes"
	if !s.Documented {
		documented = "no, the meaning is that of its class"
	}
	fmt.Fprintln(w, s.Code)
	field(w, "documented", documented)
	field(w, "meaning", s.Description)
	field(w, "repeat", s.Repeat.String())
	field(w, "Transport", inFull(s))
}

// field prints a name and what there is to say, in lines of 100 columns.
func field(w io.Writer, name, text string) {
	line := fmt.Sprintf("  %-11s", name)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 100 {
			fmt.Fprintln(w, line)
			line = fmt.Sprintf("  %-11s", "")
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// table prints all documented codes.
func table(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CODE\tTITLE\tREPEAT\tTRANSPORT")
	for code := range iamhttp.Codes() {
		s := iamhttp.Classify(int(code))
		fmt.Fprintf(tw, "%d\t%s\t%v\t%s\n", s.Code, s.Title, s.Repeat, inShort(s))
	}
	tw.Flush()
}

// failure reports whether a code becomes an error.
func failure(s iamhttp.Semantics) bool { return s.Code < 100 || s.Code >= 400 }

func inShort(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "response"
	case s.Repeat == iamhttp.RepeatAnytime || s.Repeat == iamhttp.RepeatAfter:
		return "sent again, then *StatusError"
	}
	return "*StatusError"
}

func inFull(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "returns the response as it came"
	case s.Repeat == iamhttp.RepeatAnytime || s.Repeat == iamhttp.RepeatAfter:
		return "sends the request again, whatever its method: after Retry-After or, without one, " +
			"after a back-off; returns a *StatusError in the end"
	case s.Repeat == iamhttp.RepeatIfTemporary:
		return "returns a *StatusError; listed in AlsoRepeat, it sends the request again " +
			"if the answer has Retry-After"
	}
	return "returns a *StatusError; listed in AlsoRepeat, it sends the request again " +
		"if that is idempotent"
}

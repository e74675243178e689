// Command explain prints what the IAM API documents about status codes, what
// an iamhttp.Transport does with them, and which of the service's own error
// codes call for a decision.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/iamhttp/iamhttp"
)

const usage = `usage: go run ./examples/explain [code, title or service code ...]

Prints what the IAM API documents about status codes, and what a Transport does
with them; for one of the service's own codes, what you should do about it:
  go run ./examples/explain 503
  go run ./examples/explain 429 NotFound "request time-out"
  go run ./examples/explain IAM.0061 APIGW.0308 1109
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
	codes := make([]int, len(args))
	var errs []error
	for i, arg := range args {
		if !isServiceCode(arg) {
			var err error
			codes[i], err = parse(arg)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(stderr, "%v\nWithout an argument, explain lists the documented codes and their titles.\n", err)
		return 2
	}
	for i, arg := range args {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		if isServiceCode(arg) {
			explainService(stdout, strings.ToUpper(arg))
		} else {
			explain(stdout, iamhttp.Classify(codes[i]))
		}
	}
	return 0
}

// serviceCode is how the service's own codes look: IAM.0061, APIGW.0308, 1109.
var serviceCode = regexp.MustCompile(`^(?i:(IAM|APIGW?)\.[0-9]{4}|11[0-9]{2})$`)

func isServiceCode(arg string) bool { return serviceCode.MatchString(arg) }

// decisions say what the caller should do.
var decisions = map[iamhttp.Reason]string{
	iamhttp.ReasonAccountLocked:      "wait until the account is unlocked; logging in again does not help",
	iamhttp.ReasonCredentialRejected: "use another password or access key",
	iamhttp.ReasonCredentialExpired:  "get a new access key or temporary credential",
	iamhttp.ReasonTokenExpired:       "log in again",
	iamhttp.ReasonSignatureInvalid:   "check the secret key and what signs the requests; logging in again does not help",
	iamhttp.ReasonClockSkew:          "sign again; if that fails too, correct the clock",
	iamhttp.ReasonPermissionMissing:  "ask for the permission, or for access",
	iamhttp.ReasonAlreadyExists:      "take what exists, or choose another name",
	iamhttp.ReasonAPINotFound:        "correct method and path; whether the resource exists is not known",
	iamhttp.ReasonQuotaExceeded:      "delete something, or have the quota raised",
	iamhttp.ReasonThrottled:          "come back later",
	iamhttp.ReasonRegionFailover:     "go on with the region that takes over",
}

func explainService(w io.Writer, code string) {
	reason := (&iamhttp.StatusError{ServiceCode: code}).Reason()
	fmt.Fprintln(w, code)
	if reason == iamhttp.ReasonUnknown {
		field(w, "reason", "none that calls for a decision of its own: the status code and the message say it all")
		return
	}
	field(w, "reason", reason.Error())
	field(w, "decision", decisions[reason])
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
	return 0, fmt.Errorf("%q is neither a status code, nor the title of one, nor a service code such as IAM.0061", arg)
}

// bare removes spaces and hyphens: titles are written with and without them.
var bare = strings.NewReplacer(" ", "", "-", "")

func explain(w io.Writer, s iamhttp.Semantics) {
	documented := "yes"
	if !s.Documented {
		documented = "no, the meaning is that of its class"
	}
	fmt.Fprintln(w, s.Code)
	field(w, "documented", documented)
	field(w, "meaning", s.Description)
	field(w, "retry", s.Retry.String())
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
	fmt.Fprintln(tw, "CODE\tTITLE\tRETRY\tTRANSPORT")
	for code := range iamhttp.Codes() {
		s := iamhttp.Classify(int(code))
		fmt.Fprintf(tw, "%d\t%s\t%v\t%s\n", s.Code, s.Title, s.Retry, inShort(s))
	}
	tw.Flush()
}

// failure reports whether a code becomes an error.
func failure(s iamhttp.Semantics) bool { return s.Code < 100 || s.Code >= 400 }

func inShort(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "response"
	case s.Retry == iamhttp.RetryAnytime || s.Retry == iamhttp.RetryAfterDelay:
		return "retries, then *StatusError"
	}
	return "*StatusError"
}

func inFull(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "returns the response as it came"
	case s.Retry == iamhttp.RetryAnytime || s.Retry == iamhttp.RetryAfterDelay:
		return "retries the request, whatever its method, after Retry-After or, without one, " +
			"after a back-off; returns a *StatusError in the end"
	case s.Retry == iamhttp.RetryIfTemporary:
		return "returns a *StatusError; if AlsoRetry lists the code, retries the request " +
			"if the answer has Retry-After"
	}
	return "returns a *StatusError; if AlsoRetry lists the code, retries the request " +
		"if it is idempotent"
}

// Command explain prints what the IAM API's status codes mean according to its
// documentation, what an iamhttp.Transport does with them, and what to do about the
// service's own error codes and messages. It can also read a response from standard input
// and explain it.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/answer"
)

const usage = `usage: go run ./examples/explain [- | WORDS ...]

Explains each argument: what the IAM API documents about it, and what a
Transport does or what you should do. An argument can be a status code or its
title, one of the service's own codes, a reason, or words from a meaning. Put
words that belong together in quotes. Examples:
  go run ./examples/explain 503
  go run ./examples/explain 429 NotFound "request time-out"
  go run ./examples/explain IAM.0061 APIGW.0301 1109
  go run ./examples/explain quota "already exists" "rate limit"

Without an argument, explain prints the documented status codes and 200, one
line each. With -, it reads a response from standard input, and prints what the
response means and what a Transport would do:
  curl -i https://iam.example/v3/users | go run ./examples/explain -

Exit status: 0 on success, 1 if no response can be read from standard input, 2
if an argument cannot be explained.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// advice is the text that is printed after errors about arguments.
const advice = `
Give a status code, its title, a service code such as IAM.0061, a reason, or
words from a meaning. Without an argument, explain lists the documented status
codes and 200; -h prints help.
`

// run is main with its inputs and outputs as parameters. It returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		table(stdout)
		return 0
	}
	switch args[0] {
	case "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	if len(args) == 1 && args[0] == "-" {
		resp, err := readResponse(stdin)
		if err != nil {
			fmt.Fprintf(stderr, "explain: %v\n", err)
			return 1
		}
		explainResponse(stdout, resp)
		return 0
	}
	topics := make([][]func(io.Writer), len(args))
	var errs []error
	for i, arg := range args {
		var err error
		topics[i], err = find(arg)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprint(stderr, err, advice)
		return 2
	}
	for i, explain := range slices.Concat(topics...) {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		explain(stdout)
	}
	return 0
}

// find returns functions that each print one explanation of arg. If there is none, it
// returns an error.
func find(arg string) ([]func(io.Writer), error) {
	if isServiceCode(arg) {
		return []func(io.Writer){func(w io.Writer) { explainService(w, strings.ToUpper(arg)) }}, nil
	}
	var found []func(io.Writer)
	code, err := parse(arg)
	s := iamhttp.Classify(code)
	if err == nil {
		found = append(found, func(w io.Writer) { explain(w, s) })
	}
	if err != nil || !s.Documented { // "locked" is a word in a reason and also the title of the undocumented status 423
		for _, r := range reasonsOf(arg) {
			found = append(found, func(w io.Writer) { explainReason(w, r) })
		}
	}
	if len(found) == 0 {
		found = meaning(arg)
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, fmt.Errorf("explain: %w", err)
}

// meaning returns functions that explain the codes that match all of the words (see has). For
// a status code, the title and the meaning count; for a service code, only the meaning.
func meaning(words string) (found []func(io.Writer)) {
	for _, s := range statuses() {
		if has(s.Title+" "+s.Description, words) {
			found = append(found, func(w io.Writer) { explain(w, s) })
		}
	}
	for i, m := range answer.Meanings {
		again := slices.ContainsFunc(answer.Meanings[:i], func(earlier answer.Meaning) bool { return earlier.Code == m.Code })
		if !again && has(m.Says, words) {
			found = append(found, func(w io.Writer) { explainService(w, m.Code) })
		}
	}
	return found
}

// has reports whether each of the words is a prefix of a word in the text. A word of one
// or two bytes must match a whole word, so that "in" does not match "internal". Without
// any words, has returns false.
func has(text, words string) bool {
	own, asked := wordsOf(text), wordsOf(words)
	for _, word := range asked {
		if !slices.ContainsFunc(own, func(s string) bool { return s == word || len(word) > 2 && strings.HasPrefix(s, word) }) {
			return false
		}
	}
	return len(asked) > 0
}

func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' })
}

// statuses returns the semantics of the documented codes and of 200, which is missing
// from the published table, in ascending order.
func statuses() (all []iamhttp.Semantics) {
	codes := append(slices.Collect(iamhttp.Codes()), http.StatusOK)
	slices.Sort(codes)
	for _, code := range codes {
		all = append(all, iamhttp.Classify(int(code)))
	}
	return all
}

// serviceCode matches what looks like one of the service's own codes, such as IAM.0061,
// APIGW.0308 and 1109.
var serviceCode = regexp.MustCompile(`^(?i:(IAM|APIGW?)\.[0-9]{4}|11[0-9]{2})$`)

func isServiceCode(arg string) bool { return serviceCode.MatchString(arg) }

// decisions says what the caller should do about each reason. ReasonUnknown is only for
// messages that say that the service could not check the credentials.
var decisions = map[iamhttp.Reason]string{
	iamhttp.ReasonUnknown:            "the service could not check the credentials; logging in again does not help",
	iamhttp.ReasonAccountLocked:      "wait until the account is unlocked; logging in again does not help",
	iamhttp.ReasonCredentialRejected: "use another password or access key",
	iamhttp.ReasonCredentialExpired:  "get a new password, access key or temporary credential",
	iamhttp.ReasonTokenExpired:       "log in again",
	iamhttp.ReasonSignatureInvalid:   "check the secret key and the code that signs; logging in again does not help",
	iamhttp.ReasonClockSkew:          "sign again; if that fails too, correct the clock",
	iamhttp.ReasonPermissionMissing:  "ask for the permission, or for access",
	iamhttp.ReasonAlreadyExists:      "use the existing one, or choose another name",
	iamhttp.ReasonAPINotFound:        "correct the method or the path; the resource may exist nevertheless",
	iamhttp.ReasonQuotaExceeded:      "delete something, or ask for a higher quota",
	iamhttp.ReasonThrottled:          "try again later",
	iamhttp.ReasonRegionFailover:     "switch to the region that is taking over",
}

func explainService(w io.Writer, code string) {
	reason := (&iamhttp.StatusError{ServiceCode: code}).Reason()
	fmt.Fprintln(w, code)
	i := slices.IndexFunc(answer.Meanings[:], func(m answer.Meaning) bool { return m.Code == strings.Replace(code, "APIGW.", "APIG.", 1) })
	if i < 0 {
		field(w, "reason", "none known; rely on the status code and the message")
		return
	}
	m := answer.Meanings[i]
	switch {
	case len(m.Texts) == 0:
		field(w, "reason", reason.Error())
		field(w, "decision", decisions[reason])
	case reason == iamhttp.ReasonUnknown:
		field(w, "reason", "depends on the message")
	default:
		field(w, "reason", "depends on the message; without one, "+reason.Error())
	}
	field(w, "documented", fmt.Sprintf("as a %d: %s", m.Status, m.Says))
	for _, text := range m.Texts {
		r := iamhttp.Reason(text.Reason)
		field(w, "message", fmt.Sprintf("%q: %v, %s", text.Example, r, decisions[r]))
	}
}

// reasonsOf returns the reasons whose text matches all of the words (see has), and the
// reason whose Go name is the argument. Case, the prefix Reason, spaces and hyphens do not
// matter in the name.
func reasonsOf(words string) []iamhttp.Reason {
	var found []iamhttp.Reason
	for r := iamhttp.ReasonUnknown + 1; answer.Reason(r).String() != ""; r++ {
		own := strings.ToLower(r.Error())
		name := strings.TrimPrefix(strings.ToLower(words), "reason")
		if has(own, words) || bare.Replace(name) == bare.Replace(own) {
			found = append(found, r)
		}
	}
	return found
}

func explainReason(w io.Writer, r iamhttp.Reason) {
	fmt.Fprintln(w, r)
	field(w, "decision", decisions[r])
	for _, m := range answer.Meanings {
		if iamhttp.Reason(m.Reason) == r {
			field(w, "code", fmt.Sprintf("%s, as a %d: %s", m.Code, m.Status, m.Says))
		}
	}
	var told []string
	add := func(texts []answer.Text) {
		for _, text := range texts {
			if example := strconv.Quote(text.Example); iamhttp.Reason(text.Reason) == r && !slices.Contains(told, example) {
				told = append(told, example)
			}
		}
	}
	for _, m := range answer.Meanings {
		add(m.Texts)
	}
	for status := 400; status < 600; status++ {
		add(answer.Uncoded(status))
	}
	for _, example := range told {
		field(w, "message", example)
	}
	if r == iamhttp.ReasonThrottled {
		field(w, "status", "429, unless the code or the message gives another reason")
	}
}

// parse returns the status code that an argument stands for, by number, by title, or by
// both, as iamhttp.Code prints them.
func parse(arg string) (int, error) {
	if n, err := strconv.Atoi(arg); err == nil {
		if n < 100 || n > 999 {
			return 0, fmt.Errorf("%q is not a status code: use a number from 100 to 999", answer.Cut(arg, 20))
		}
		return n, nil
	}
	// Some titles in the documentation differ from net/http's; both are accepted.
	for n := 100; n < 600; n++ {
		for _, title := range []string{iamhttp.Classify(n).Title, http.StatusText(n)} {
			if title != "" && strings.EqualFold(strings.TrimPrefix(bare.Replace(arg), strconv.Itoa(n)), bare.Replace(title)) {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("found nothing about %q", answer.Cut(arg, 30))
}

// bare removes spaces and hyphens, because titles and reasons may be written with or
// without them.
var bare = strings.NewReplacer(" ", "", "-", "")

func explain(w io.Writer, s iamhttp.Semantics) {
	explainMeaning(w, s)
	field(w, "Transport", inFull(s))
}

func explainMeaning(w io.Writer, s iamhttp.Semantics) {
	documented := "yes"
	if !s.Documented {
		documented = "no; the meaning is that of the code's whole class"
	}
	fmt.Fprintln(w, s.Code)
	field(w, "documented", documented)
	field(w, "meaning", s.Description)
	field(w, "retry", s.Retry.String())
}

// field prints a name and a text, and wraps the text between words at 80 columns.
func field(w io.Writer, name, text string) {
	line := fmt.Sprintf("  %-11s", name)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 80 {
			fmt.Fprintln(w, line)
			line = fmt.Sprintf("  %-11s", "")
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// table prints one line for each of statuses, and explains two of the columns.
func table(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CODE\tTITLE\tRETRY\tTRANSPORT")
	for _, s := range statuses() {
		fmt.Fprintf(tw, "%d\t%s\t%v\t%s\n", s.Code, s.Title, s.Retry, inShort(s))
	}
	tw.Flush()
	fmt.Fprint(w, `
RETRY is what the published table says about retries; 200 is not in that table.
TRANSPORT is what an iamhttp.Transport with default settings does: it returns
the response or a *StatusError, but first retries a 408 or 429.
`)
}

// failure reports whether a Transport with default settings turns a response with this
// code into an error.
func failure(s iamhttp.Semantics) bool { return s.Code < 100 || s.Code >= 400 }

func inShort(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "response"
	case s.Retry == iamhttp.RetryAnytime || s.Retry == iamhttp.RetryAfterDelay:
		return "retries"
	}
	return "*StatusError"
}

func inFull(s iamhttp.Semantics) string {
	switch {
	case !failure(s):
		return "returns the response unchanged"
	case s.Retry == iamhttp.RetryAnytime || s.Retry == iamhttp.RetryAfterDelay:
		return "retries the request, whatever its method, after Retry-After or, without one, " +
			"after a backoff or when a stated limit allows it; if it gives up, returns a *StatusError"
	case s.Retry == iamhttp.RetryIfTemporary:
		return "returns a *StatusError; if AlsoRetry lists the code and the response has " +
			"Retry-After, the request is retried first"
	}
	return "returns a *StatusError; if AlsoRetry lists the code, requests that are " +
		"idempotent or have an Idempotency-Key are retried first"
}

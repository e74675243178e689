// Command sdk is a program that uses a small IAM SDK to make sure that some users exist.
// The SDK, in the directory iam, uses iamhttp. The program itself uses iamhttp only to
// handle errors.
//
//	go run ./examples/sdk alice bob alice
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
	"github.com/iamhttp/iamhttp/iamtest"
)

// users is the part of the SDK that run uses. It is an interface so that tests can do
// without a service.
type users interface {
	CreateUser(ctx context.Context, name string) (*iam.User, error)
	FindUser(ctx context.Context, name string) (*iam.User, error)
}

var errNotVisible = errors.New("exists, but is not visible to this account")

// ensure creates a user with this name, or returns the existing user.
func ensure(ctx context.Context, u users, name string) (user *iam.User, created bool, err error) {
	user, err = u.CreateUser(ctx, name)
	switch {
	case err == nil:
		return user, true, nil
	case errors.Is(err, iamhttp.ErrConflict), errors.Is(err, iamhttp.ReasonAlreadyExists): // some services return a 400 for a conflict
		user, err = u.FindUser(ctx, name)
		if err == nil && user == nil {
			err = fmt.Errorf("user %q %w", name, errNotVisible)
		}
		return user, false, err
	}
	return nil, false, err
}

// advice returns what to do about an error.
func advice(err error) string {
	switch {
	case errors.Is(err, iamhttp.ReasonAccountLocked):
		return "wait until the account is unlocked"
	case errors.Is(err, iamhttp.ErrForbidden), errors.Is(err, iamhttp.ReasonPermissionMissing): // some services return a 401 for a missing permission
		return "ask for the permission to create users"
	case errors.Is(err, iamhttp.ErrUnauthorized):
		return "log in again"
	case errors.Is(err, iamhttp.ReasonQuotaExceeded):
		return "delete a user, or ask for a higher quota"
	}
	if wait, ok := iamhttp.RetryAfter(err); ok { // the wait that the service or a gate asks for
		return fmt.Sprintf("try again in %v", wait)
	}
	var answered *iamhttp.StatusError
	switch {
	case errors.Is(err, iamhttp.ErrTooManyRequests):
		return "try again later"
	case errors.Is(err, errNotVisible):
		return "choose another name, or ask for the permission to list users"
	case !errors.As(err, &answered):
		return "check the connection"
	case answered.RequestID != "":
		return "contact the operators and mention the request ID " + answered.RequestID
	}
	return "contact the operators"
}

func main() {
	service := httptest.NewServer(serviceWithAQuota(3))
	code := run(context.Background(), iam.New(service.URL+"/v3", "token", nil), os.Args[1:], os.Stdout, os.Stderr)
	service.Close()
	os.Exit(code)
}

const usage = `usage: go run ./examples/sdk NAME ...

Makes sure that users with these names exist: creates each user, or finds the
existing one. The service runs in this process and has a quota of three users:
  go run ./examples/sdk alice bob alice carol dave

Exit status: 0 if all users exist, 1 if one could be neither created nor found,
2 if a name is missing or invalid.
`

// run is main with its inputs and outputs as parameters. It returns the exit status.
func run(ctx context.Context, u users, names []string, stdout, stderr io.Writer) int {
	for _, name := range names {
		switch {
		case name == "-h", name == "-help", name == "--help":
			fmt.Fprint(stdout, usage)
			return 0
		case name == "", name[0] == '-':
			fmt.Fprintf(stderr, "sdk: %q is not a valid name; -h prints help\n", name)
			return 2
		}
	}
	if len(names) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	for _, name := range names {
		user, created, err := ensure(ctx, u, name)
		switch {
		case err != nil:
			fmt.Fprintf(stderr, "%s\n  -> %s\n", folded(fmt.Sprintf("%s: %v", name, err)), advice(err))
			return 1
		case created:
			fmt.Fprintf(stdout, "%s: created, ID %s\n", name, user.ID)
		default:
			fmt.Fprintf(stdout, "%s: exists, ID %s\n", name, user.ID)
		}
	}
	return 0
}

// folded returns the text wrapped at 80 columns.
func folded(text string) string {
	lines, line := "", ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 80 {
			lines, line = lines+line+"\n", word
			continue
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return lines + line
}

// serviceWithAQuota returns an IAM service that runs in this process. Like some real
// services, it returns a 400 both if a user already exists and if the quota is used up.
func serviceWithAQuota(quota int) http.Handler {
	var names []string
	find := func(name string) string {
		for i, n := range names {
			if n == name {
				user, _ := json.Marshal(iam.User{ID: strconv.Itoa(i + 1), Name: n, Enabled: true})
				return string(user)
			}
		}
		return ""
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3/users", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"users":[%s]}`, find(r.FormValue("name")))
	})
	mux.HandleFunc("POST /v3/users", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		name := nameIn(body)
		switch {
		case find(name) != "":
			iamtest.IAM(400, "1109", "The username already exists.").ServeHTTP(w, r)
		case len(names) == quota:
			iamtest.IAM(400, "1115", "The number of IAM users has reached the maximum allowed limit.").ServeHTTP(w, r)
		default:
			names = append(names, name)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"user":%s}`, find(name))
		}
	})
	return mux
}

func nameIn(body []byte) string {
	var in struct{ User iam.User }
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	return in.User.Name
}

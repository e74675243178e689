// Command sdk is a program that uses a small IAM SDK: it makes sure that some
// users exist. The SDK, in the folder iam, uses iamhttp; the program meets
// iamhttp only in the errors.
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

// users is the part of the SDK that the program uses. It is an interface so that
// tests need no service.
type users interface {
	CreateUser(ctx context.Context, name string) (*iam.User, error)
	FindUser(ctx context.Context, name string) (*iam.User, error)
}

// ensure returns the user with the name, and creates it if there is none.
func ensure(ctx context.Context, u users, name string) (user *iam.User, created bool, err error) {
	user, err = u.CreateUser(ctx, name)
	switch {
	case err == nil:
		return user, true, nil
	case errors.Is(err, iamhttp.ErrConflict), errors.Is(err, iamhttp.ReasonAlreadyExists): // a 400 of some services
		user, err = u.FindUser(ctx, name)
		if err == nil && user == nil {
			err = fmt.Errorf("user %q exists, but cannot be seen from here", name)
		}
		return user, false, err
	}
	return nil, false, err
}

// advice says what a person can do about an error.
func advice(err error) string {
	switch {
	case errors.Is(err, iamhttp.ReasonAccountLocked):
		return "wait until the account is unlocked"
	case errors.Is(err, iamhttp.ErrForbidden), errors.Is(err, iamhttp.ReasonPermissionMissing): // a 401 of some services
		return "ask for the permission to create users"
	case errors.Is(err, iamhttp.ErrUnauthorized):
		return "log in again"
	case errors.Is(err, iamhttp.ReasonQuotaExceeded):
		return "delete a user, or have the quota raised"
	}
	if wait, ok := iamhttp.RetryAfter(err); ok { // of the service, or of a gate
		return fmt.Sprintf("try again in %v", wait)
	}
	var answered *iamhttp.StatusError
	switch {
	case errors.Is(err, iamhttp.ErrTooManyRequests):
		return "try again later"
	case !errors.As(err, &answered):
		return "check the connection"
	case answered.RequestID != "":
		return "ask the operators, and name request " + answered.RequestID
	}
	return "ask the operators"
}

func main() {
	service := httptest.NewServer(serviceWithAQuota(3))
	code := run(context.Background(), iam.New(service.URL+"/v3", "token", nil), os.Args[1:], os.Stdout, os.Stderr)
	service.Close()
	os.Exit(code)
}

const usage = `usage: go run ./examples/sdk NAME ...

Makes sure that users with these names exist: creates each, or finds it if there
is one already. The service is in this process and has room for three users:
  go run ./examples/sdk alice bob alice carol dave

Exit status: 0 if all exist, 1 if one could not be created, 2 if there is no
name.
`

// run returns the exit code.
func run(ctx context.Context, u users, names []string, stdout, stderr io.Writer) int {
	for _, name := range names {
		switch {
		case name == "-h", name == "-help", name == "--help":
			fmt.Fprint(stdout, usage)
			return 0
		case name == "", name[0] == '-':
			fmt.Fprintf(stderr, "sdk: %q is no name; -h is help\n", name)
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
			fmt.Fprintf(stdout, "%s: created, id %s\n", name, user.ID)
		default:
			fmt.Fprintf(stdout, "%s: exists, id %s\n", name, user.ID)
		}
	}
	return 0
}

// folded breaks a text into lines of 80 columns.
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

// serviceWithAQuota is an IAM service in this process. It answers as a real one
// does: "already exists" and "no more users" are a 400.
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

// Command bulk creates many users in a service with a rate limit. It shows its pace
// (accepted requests per second) and whether it is working or waiting out a pause. For
// comparison, the program also makes the same calls without a gate, unless the service is
// a real Keystone.
//
// progress.go is a model for your own program: a Gate that wraps a gate.Adaptive and
// counts requests and their outcomes.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/examples/internal/interrupt"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
)

const usage = `usage: go run ./examples/bulk [flags]

Creates users, several at a time, through one gate.Adaptive. By default, the
service runs in this process and accepts 40 requests per second.

Expect the program to be about as fast as the service allows, with a pause of
one second whenever the gate meets the limit and, with the default flags,
usually fewer than 15 throttled requests. For comparison, the program also
makes the same calls without a gate (not to a real Keystone); many more of
those requests are throttled.

  -users n    number of users (default 500)
  -callers n  number of concurrent calls (default 16)
  -plain      print lines, not a progress bar (default if there is no terminal)

In the bar, # stands for successful calls, > for calls in flight, and - for
calls that are waiting to be sent.

To run it against a real Keystone, set
` + account.Settings + `The users there get random names and no password, and are deleted afterwards.

Exit status: 0 if all users were created (and deleted from a real Keystone), 1
if not, 2 if the flags or settings are wrong.
`

const (
	defaultUsers   = 500
	defaultCallers = 16
)

func main() {
	ctx, stop := interrupt.Context()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program without cleaning up
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	os.Exit(run(ctx, os.Args[1:], os.Getenv, terminal, os.Stdout, os.Stderr))
}

// run is main with its inputs and outputs as parameters. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, terminal bool, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bulk", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	count := flags.Int("users", defaultUsers, "")
	callers := flags.Int("callers", defaultCallers, "")
	plain := flags.Bool("plain", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case err == nil && (*count < 1 || *count > 1_000_000 || *callers < 1 || *callers > 10_000):
		err = errors.New("-users must be from 1 to 1000000, and -callers from 1 to 10000")
	}
	endpoint, as, envErr := account.FromEnvironment(getenv)
	if err == nil {
		err = envErr
	}
	if err != nil {
		fmt.Fprintf(stderr, "bulk: %v; -h lists the settings\n", err)
		return 2
	}

	p := new(progress)
	// With RetryConnectionErrors, a deletion is retried if its connection breaks. The
	// creation of a user is not retried in that case, because it is not idempotent.
	t := &iamhttp.Transport{Gate: p, RetryConnectionErrors: true}
	var client *iam.Client
	if endpoint == "" {
		t.Base = newService()
		client = iam.New("https://iam.example/v3", "token", t)
	} else if client, err = logIn(ctx, endpoint, as, t); err != nil {
		fmt.Fprintf(stderr, "bulk: %v\n", err)
		return 1
	}
	b := bulk{client: client, progress: p, callers: *callers, show: lines(stdout)}
	if terminal && !*plain {
		b.show = bar(stdout)
	}

	var comparison sync.WaitGroup
	var without state
	if endpoint == "" {
		fmt.Fprint(stdout, expected(*count, *callers))
		comparison.Go(func() { without = withoutGate(ctx, *count, *callers) })
	}
	users := namesOf(*count)
	if err = b.create(ctx, users); ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = interrupt.Err
	}
	if comparison.Wait(); endpoint == "" {
		fmt.Fprintln(stdout, result("without a gate", without))
	}
	if endpoint != "" {
		// Clean up even after an interrupt, but for a limited time.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
		defer cancel()
		err = errors.Join(err, b.delete(ctx, users))
	}
	if err != nil {
		fmt.Fprintf(stderr, "bulk: %v\n", err)
		return 1
	}
	return 0
}

// logIn logs in. It has a deadline, because with RetryConnectionErrors, the Transport
// would otherwise try for a minute and a half to reach a service that is not there.
func logIn(ctx context.Context, endpoint string, as account.Account, t *iamhttp.Transport) (*iam.Client, error) {
	limited, cancel := context.WithTimeoutCause(ctx, loginTimeout, fmt.Errorf("no response within %v", loginTimeout))
	defer cancel()
	client, err := iam.LogIn(limited, endpoint, as.Auth(), t)
	if err != nil && ctx.Err() != nil {
		return nil, interrupt.Err
	}
	return client, err
}

const loginTimeout = 5 * time.Second

// A user is one of the users to create. Its name is unique.
type user struct {
	name  string
	id    string // "" until the ID is known
	tried bool   // true if a call to create the user has begun
}

func namesOf(count int) []*user {
	prefix := "bulk-" + strings.ToLower(rand.Text()[:8])
	users := make([]*user, count)
	for i := range users {
		users[i] = &user{name: fmt.Sprintf("%s-%04d", prefix, i+1)}
	}
	return users
}

// A bulk makes the same call for many users.
type bulk struct {
	client   *iam.Client
	progress *progress
	callers  int // the number of concurrent calls
	show     display
}

// create creates the users. It stops at the first failure, because the remaining calls
// would most likely fail for the same reason.
func (b *bulk) create(ctx context.Context, users []*user) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	return b.each(ctx, "create", users, func(ctx context.Context, u *user) error {
		u.tried = true
		created, err := b.client.CreateUser(ctx, u.name)
		if err != nil {
			stop(err)
			return err
		}
		u.id = created.ID
		return nil
	})
}

// delete deletes all users that create has tried to create: even if a call failed, its
// user may exist. After a failure, it continues with the next user.
func (b *bulk) delete(ctx context.Context, users []*user) error {
	var made []*user
	for _, u := range users {
		if u.tried {
			made = append(made, u)
		}
	}
	err := b.each(ctx, "delete", made, func(ctx context.Context, u *user) error {
		if u.id == "" {
			found, err := b.client.FindUser(ctx, u.name)
			if err != nil || found == nil {
				return err
			}
			u.id = found.ID
		}
		err := b.client.DeleteUser(ctx, u.id)
		if errors.Is(err, iamhttp.ErrNotFound) {
			return nil // the user is already gone; perhaps the response to an earlier attempt was lost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("users with names like %s may be left behind: %w", users[0].name, err)
	}
	return nil
}

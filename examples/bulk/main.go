// Command bulk creates many users against a rate limit. It shows what it is
// doing: working, or waiting until Retry-After has elapsed, and at which pace.
// Next to its result it shows what the same calls come to without a gate.
//
// Take progress.go as a model: a Gate around a gate.Adaptive that counts what is
// sent and what comes of it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
)

const usage = `usage: go run ./examples/bulk [flags]

Creates users, many at a time, through one gate.Adaptive. Without further
settings the service is in this process and takes 40 requests per second.

Expect about the service's pace, a pause of a second each time that the gate
meets the limit, and a handful of requests refused. Meanwhile the program makes
the same calls without a gate, and prints what they came to: many times as many
requests refused.

  -users n    how many (500)
  -callers n  how many at a time (16)
  -plain      lines instead of a progress bar; the default without a terminal

The bar shows # for what is done, > for what is in flight and - for what waits
to be sent.

To do the same with a real Keystone, set
` + account.Settings + `There the users get random names and no password, and are deleted afterwards.

Exit status: 0 if all were created, 1 if something else happened, 2 if the
flags or settings are wrong.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program without cleaning up
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	os.Exit(run(ctx, os.Args[1:], os.Getenv, terminal, os.Stdout, os.Stderr))
}

// run is the program without the process around it. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, terminal bool, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bulk", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	count := flags.Int("users", 500, "")
	callers := flags.Int("callers", 16, "")
	plain := flags.Bool("plain", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case err == nil && (*count < 1 || *callers < 1):
		err = errors.New("-users and -callers must be at least 1")
	}
	endpoint, as, envErr := account.FromEnvironment(getenv)
	if err = errors.Join(err, envErr); err != nil {
		fmt.Fprintf(stderr, "bulk: %v; -h lists the settings\n", err)
		return 2
	}

	p := new(progress)
	// Deleting is retried when a connection breaks; creating is not.
	t := &iamhttp.Transport{Gate: p, RetryConnectionErrors: true}
	var client *iam.Client
	if endpoint == "" {
		t.Base = newService()
		client = iam.New("https://iam.example/v3", "token", t)
	} else if client, err = iam.LogIn(ctx, endpoint, as.Auth(), t); err != nil {
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
	err = b.create(ctx, users)
	if comparison.Wait(); endpoint == "" {
		fmt.Fprintln(stdout, result("without a gate", without))
	}
	if endpoint != "" {
		// After an interrupt too, but not without end.
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

// A user is one to be created, under a name that nobody has.
type user struct {
	name  string
	id    string // once it is known
	tried bool
}

func namesOf(count int) []*user {
	prefix := "bulk-" + strings.ToLower(rand.Text()[:8])
	users := make([]*user, count)
	for i := range users {
		users[i] = &user{name: fmt.Sprintf("%s-%04d", prefix, i+1)}
	}
	return users
}

// A bulk does the same for many users.
type bulk struct {
	client   *iam.Client
	progress *progress
	callers  int // how many do it at a time
	show     display
}

// create stops at the first failure: the other users would most likely fail for
// the same reason.
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

// delete deletes what create has made, or may have made: an error does not say
// whether the user was created. It goes on after a failure.
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
			return nil // an earlier attempt has deleted it, and its answer was lost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("users named like %s may be left behind: %w", users[0].name, err)
	}
	return nil
}

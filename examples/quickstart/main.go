// Command quickstart shows what a caller of an IAM service sees through an
// iamhttp.Transport: what is retried, what is not and why, and how to ask an
// error what happened.
//
// main.go tells the story, scene by scene. client.go is the client behind it:
// take it as a model. server.go is the service in this process that answers. With
// -serve, serve.go keeps that service up for a program of yours.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/iamtest"
)

const usage = `usage: go run ./examples/quickstart [-serve]

Shows what a caller of an IAM service sees through an iamhttp.Transport. Without
further settings the service runs in this process and listens on the loopback
interface only. The program takes a few seconds.

To do the same with a real Keystone, set
` + account.Settings + `It creates one user with a random name and no password there, and deletes it.

With -serve it only runs the service, until you press Ctrl-C, and prints URLs
that a program of yours can call. They need no login.

Exit status: 0 if everything went as expected, 1 if it did not, 2 if
the settings are incomplete or wrong.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process around it. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "-h", "-help", "--help":
			fmt.Fprint(stdout, usage)
			return 0
		case "-serve", "--serve":
			if len(args) > 1 {
				break
			}
			if err := serve(ctx, stdout); err != nil {
				fmt.Fprintf(stderr, "quickstart: start the service: %v\n", err)
				return 1
			}
			return 0
		}
		fmt.Fprintf(stderr, "quickstart: unexpected argument %q; -h lists the settings\n", args[len(args)-1])
		return 2
	}
	endpoint, as, err := account.FromEnvironment(getenv)
	if err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 2
	}

	d := demo{transcript: transcript{out: stdout}, account: as}
	if endpoint != "" {
		d.userName = randomName("quickstart")
		d.intro("An IAM client on iamhttp, and the service at\n%s", endpoint)
	} else {
		d.userName = "alice"
		if d.service, err = startService(); err != nil {
			fmt.Fprintf(stderr, "quickstart: start the service: %v\n", err)
			return 1
		}
		defer d.service.close()
		endpoint, d.account = d.service.endpoint, d.service.account
		d.intro("An IAM client on iamhttp, and a service in this process:\n%s", endpoint)
	}
	d.client = newClient(endpoint, d.failed)

	if err := d.play(ctx); err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 1
	}
	d.intro("\nEverything went as expected.")
	return 0
}

// A demo is one run of the scenes.
type demo struct {
	transcript
	client   *client
	account  account.Account
	service  *service // nil: a real one
	arrived  int      // requests that had arrived before the staged one
	userName string   // of the user that most scenes are about
	user     user     // that user, once created
	created  []string // the names of all users that may exist because of this run
}

// scenes in their order. The staged ones need answers that a real service cannot
// be asked for.
var scenes = []struct {
	title  string
	staged bool
	play   func(*demo, context.Context) error
}{
	{"Log in", false, (*demo).logIn},
	{"Create a user", false, (*demo).createUser},
	{"Get the user, and find it by name", false, (*demo).readUser},
	{"A call that meets the rate limit is retried", true, (*demo).rateLimit},
	{"A call that was too slow for the service is retried", true, (*demo).requestTimeout},
	{"Is it this code? errors.Is", false, (*demo).conflict},
	{"What does the service say? errors.As", false, (*demo).notFound},
	{"Which code is it? errors.As", false, (*demo).unauthorized},
	{"What the documentation does not allow is not retried", true, (*demo).unavailable},
	{"A wait beyond the deadline is not begun", true, (*demo).deadline},
	{"A body that can be read only once is sent only once", true, (*demo).upload},
	{"An SDK that reads status codes itself: PassThrough and a Recorder", false, (*demo).passThrough},
}

// play plays the scenes and cleans up afterwards, even if one of them fails or
// the user interrupts the program.
func (d *demo) play(ctx context.Context) (err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, d.cleanUp(ctx))
	}()
	for _, s := range scenes {
		d.scene(s.title)
		if s.staged && d.service == nil {
			d.say("left out: a real service cannot be asked to answer like that")
			continue
		}
		if err := s.play(d, ctx); err != nil {
			return fmt.Errorf("scene %d, %q: %w", d.number, s.title, err)
		}
	}
	return nil
}

func (d *demo) logIn(ctx context.Context) error {
	if err := d.client.logIn(ctx, d.account); err != nil {
		return err
	}
	d.say("-> %s is logged in to project %s", d.account.UserName, d.account.Project)
	return nil
}

func (d *demo) createUser(ctx context.Context) (err error) {
	d.created = append(d.created, d.userName)
	d.user, err = d.client.createUser(ctx, d.userName)
	if err != nil {
		return err
	}
	d.say("-> %s created, id %s", d.user.Name, d.user.ID)
	return nil
}

func (d *demo) readUser(ctx context.Context) error {
	got, err := d.client.getUser(ctx, d.user.ID)
	if err != nil {
		return err
	}
	d.say("-> %s has the name %s", got.ID, got.Name)
	found, err := d.client.usersNamed(ctx, d.userName)
	if err != nil {
		return err
	}
	if got != d.user || len(found) != 1 || found[0] != d.user {
		return fmt.Errorf("created %+v, but got %+v and found %+v", d.user, got, found)
	}
	d.say("-> %s is the id of the only user of that name", found[0].ID)
	return nil
}

// The lines about the retries come from the Transport's OnFailure; the caller
// of createUser sees a success and nothing else.
func (d *demo) rateLimit(ctx context.Context) error {
	d.stage(iamtest.Throttled(time.Second))
	d.created = append(d.created, "bob")
	u, err := d.client.createUser(ctx, "bob")
	if err != nil {
		return err
	}
	d.say("-> %s created, id %s", u.Name, u.ID)
	return d.sent(2)
}

func (d *demo) requestTimeout(ctx context.Context) error {
	d.stage(iamtest.Page(408))
	u, err := d.client.getUser(ctx, d.user.ID)
	if err != nil {
		return err
	}
	d.say("-> %s has the name %s", u.ID, u.Name)
	return d.sent(2)
}

func (d *demo) conflict(ctx context.Context) error {
	_, err := d.client.createUser(ctx, d.userName)
	if !errors.Is(err, iamhttp.ErrConflict) {
		return unexpected(err, iamhttp.ErrConflict)
	}
	d.say("-> errors.Is(err, iamhttp.ErrConflict): %s exists already", d.userName)
	d.say("-> err in full: %v", err)
	return nil
}

func (d *demo) notFound(ctx context.Context) error {
	_, err := d.client.getUser(ctx, "nobody")
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	if !ok || e.Code != iamhttp.ErrNotFound {
		return unexpected(err, iamhttp.ErrNotFound)
	}
	d.say("-> errors.As(err, &e), e a *iamhttp.StatusError")
	d.say("   e.Code:      %v", e.Code)
	d.say("   e.Message:   %s", e.Message)
	d.say("   e.RequestID: %s", e.RequestID)
	d.say("   e.Attempts:  %d", e.Attempts)
	d.say("   e.Stop:      %v", e.Stop)
	return nil
}

// It logs in as a user that does not exist: the service answers as for a wrong
// password, and no account is locked.
func (d *demo) unauthorized(ctx context.Context) error {
	stranger := d.account
	stranger.UserName = randomName("nobody")
	stranger.Password = rand.Text()
	err := d.client.logIn(ctx, stranger)
	var code iamhttp.Code
	if !errors.As(err, &code) || code != iamhttp.ErrUnauthorized {
		return unexpected(err, iamhttp.ErrUnauthorized)
	}
	d.say("-> errors.As(err, &code): code is %v", code)
	d.say("-> iamhttp.Classify(int(code)).Description: %s", iamhttp.Classify(int(code)).Description)
	return nil
}

func (d *demo) unavailable(ctx context.Context) error {
	d.stage(iamtest.Page(503).With("Retry-After", "1"))
	_, err := d.client.getUser(ctx, d.user.ID)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	if !ok || e.Code != iamhttp.ErrServiceUnavailable || e.Stop != iamhttp.StopNotRetryable {
		return unexpected(err, iamhttp.ErrServiceUnavailable)
	}
	d.say("-> e.Stop is iamhttp.StopNotRetryable, in spite of Retry-After")
	d.say("-> iamhttp.Classify(503).Retry: %v", iamhttp.Classify(503).Retry)
	return d.sent(1)
}

func (d *demo) deadline(ctx context.Context) error {
	d.stage(iamtest.Throttled(time.Minute))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	start := time.Now()
	_, err := d.client.getUser(ctx, d.user.ID)
	took := time.Since(start)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	if !ok || e.Code != iamhttp.ErrTooManyRequests || e.Stop != iamhttp.StopDeadline {
		return unexpected(err, iamhttp.ErrTooManyRequests)
	}
	if took > 5*time.Second {
		return fmt.Errorf("returned after %v, although the wait was hopeless from the start", took)
	}
	d.say("-> e.Stop is iamhttp.StopDeadline, back at once (%v) instead of at the deadline in 10s",
		max(took.Round(time.Millisecond), time.Millisecond))
	d.say("-> e.RetryAfter is %v: when to come back", e.RetryAfter)
	return d.sent(1)
}

func (d *demo) upload(ctx context.Context) error {
	d.stage(iamtest.Throttled(time.Second))
	// Like a file or a pipe: net/http cannot read it a second time.
	body := struct{ io.Reader }{strings.NewReader(`{"user":{"name":"carol"}}`)}
	d.created = append(d.created, "carol")
	_, err := d.client.createUserFrom(ctx, body)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	if !ok || e.Code != iamhttp.ErrTooManyRequests || e.Stop != iamhttp.StopBodyNotReplayable {
		return unexpected(err, iamhttp.ErrTooManyRequests)
	}
	d.say("-> e.Stop is iamhttp.StopBodyNotReplayable: set Request.GetBody, or send the body from memory")
	return d.sent(1)
}

func (d *demo) passThrough(ctx context.Context) error {
	sdk := newSDK(d.client, d.failed)
	ctx, rec := iamhttp.WithRecorder(ctx)
	err := sdk.deleteUser(ctx, "nobody")
	d.say("-> err is %v", err)
	err = rec.Wrap(err)
	if !errors.Is(err, errSDK) || !errors.Is(err, iamhttp.ErrNotFound) {
		return unexpected(err, iamhttp.ErrNotFound)
	}
	d.say("-> rec.Wrap(err) is %v", err)
	d.say("-> errors.Is finds both, the SDK's own error and iamhttp.ErrNotFound")
	return nil
}

// cleanUp deletes by name rather than by id: a call that failed may still have
// created its user.
func (d *demo) cleanUp(ctx context.Context) error {
	if len(d.created) == 0 {
		return nil
	}
	d.scene("Clean up")
	var errs []error
	for _, name := range d.created {
		users, err := d.client.usersNamed(ctx, name)
		for _, u := range users {
			if err = d.client.deleteUser(ctx, u.ID); err != nil {
				break
			}
			d.say("-> %s deleted", name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("a user %s may be left behind: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// stage makes the service answer the next request like this, and begins to
// count.
func (d *demo) stage(a iamtest.Answer) {
	d.arrived = len(d.service.Requests())
	d.service.Next(a)
}

// sent checks and says how often the request of a staged scene arrived.
func (d *demo) sent(want int) error {
	got := len(d.service.Requests()) - d.arrived
	if got != want {
		return fmt.Errorf("the service received %d requests instead of %d", got, want)
	}
	d.say("-> the service received the request %s", map[int]string{1: "once", 2: "twice"}[got])
	return nil
}

// randomName is short, as some services take no more than 32 characters.
func randomName(prefix string) string {
	return prefix + "-" + strings.ToLower(rand.Text()[:12])
}

func unexpected(err error, want iamhttp.Code) error {
	if err == nil {
		return fmt.Errorf("expected %v, and there was no error", want)
	}
	return fmt.Errorf("expected %v, and the error is: %w", want, err)
}

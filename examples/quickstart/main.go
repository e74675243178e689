// Command quickstart shows what a caller of an IAM service sees through an
// iamhttp.Transport: what is retried, what is not retried and why, and how to find out
// from an error what happened.
//
// main.go contains the scenes of the demonstration. client.go contains the client that
// the scenes use; it is a model for your own client. server.go contains the service,
// which runs in the same process. With -serve, serve.go keeps that service running so
// that your own program can call it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/examples/internal/interrupt"
	"github.com/iamhttp/iamhttp/iamtest"
)

const usage = `usage: go run ./examples/quickstart [-serve]

Shows what a caller of an IAM service sees through an iamhttp.Transport. By
default, the service runs in this process and listens on the loopback interface
only. The program takes a few seconds.

To run it against a real Keystone, set
` + account.Settings + `The program creates one user there, with a random name and no password, and
deletes it.

With -serve, the program only runs the service, until you press Ctrl-C, and
prints URLs that your own program can call without logging in.

Exit status: 0 if everything went as expected, 1 if not, 2 if an argument or a
setting is missing or wrong.
`

func main() {
	ctx, stop := interrupt.Context()
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its inputs and outputs as parameters. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		unexpected := args[0]
		switch args[0] {
		case "-h", "-help", "--help":
			fmt.Fprint(stdout, usage)
			return 0
		case "-serve", "--serve":
			if len(args) > 1 {
				unexpected = args[1]
				break
			}
			if err := serve(ctx, stdout); err != nil {
				fmt.Fprintf(stderr, "quickstart: start the service: %v\n", err)
				return 1
			}
			return 0
		}
		fmt.Fprintf(stderr, "quickstart: unexpected argument %q; -h lists the settings\n", unexpected)
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
		d.intro("An IAM client that uses iamhttp, and the service at\n%s", endpoint)
	} else {
		d.userName = "alice"
		if d.service, err = startService(); err != nil {
			fmt.Fprintf(stderr, "quickstart: start the service: %v\n", err)
			return 1
		}
		defer d.service.close()
		endpoint, d.account = d.service.endpoint, d.service.account
		d.intro("An IAM client that uses iamhttp, and a service in this process:\n%s", endpoint)
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
	service  *service // nil if the demo uses a real service
	arrived  int      // the number of requests received before the latest call to stage
	userName string   // the user's name in most scenes
	user     user     // the user named userName, once created
	created  []string // the names of all users that this run might have created
}

// scenes lists the scenes in order. Staged scenes need responses that a real service does
// not send on demand.
var scenes = []struct {
	title  string
	staged bool
	play   func(*demo, context.Context) error
}{
	{"Log in", false, (*demo).logIn},
	{"Create a user", false, (*demo).createUser},
	{"Get the user, and find it by name", false, (*demo).readUser},
	{"A throttled call is retried", true, (*demo).rateLimit},
	{"A request that does not arrive in time is retried", true, (*demo).requestTimeout},
	{"Check for a specific status: errors.Is", false, (*demo).conflict},
	{"Get the details of a failure: errors.As", false, (*demo).notFound},
	{"Get only the status code: errors.As", false, (*demo).unauthorized},
	{"A failure that must not be retried is returned at once", true, (*demo).unavailable},
	{"A call that would have to wait beyond its deadline fails at once", true, (*demo).deadline},
	{"A body that can be read only once is sent only once", true, (*demo).upload},
	{"An SDK that inspects status codes: PassThrough and a Recorder", false, (*demo).passThrough},
}

// play plays the scenes and then cleans up, even if a scene fails or the user interrupts
// the program.
func (d *demo) play(ctx context.Context) (err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, d.cleanUp(ctx))
	}()
	for _, s := range scenes {
		d.scene(s.title)
		if s.staged && d.service == nil {
			d.say("skipped: a real service does not send such a response on demand")
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
	d.say("-> %s created, ID %s", d.user.Name, d.user.ID)
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
	d.say("-> %s is the ID of the only user with that name", found[0].ID)
	return nil
}

// rateLimit creates a user while the service throttles one request. The line about the
// retry is printed by the Transport's OnFailure; the caller of createUser only sees that
// the call succeeds.
func (d *demo) rateLimit(ctx context.Context) error {
	d.stage(iamtest.Throttled(time.Second))
	d.created = append(d.created, "bob")
	u, err := d.client.createUser(ctx, "bob")
	if err != nil {
		return err
	}
	d.say("-> %s created, ID %s", u.Name, u.ID)
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
	d.say("-> errors.Is(err, iamhttp.ErrConflict): %s already exists", d.userName)
	d.say("-> full text of err: %v", err)
	return nil
}

func (d *demo) notFound(ctx context.Context) error {
	_, err := d.client.getUser(ctx, "nobody")
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	if !ok || e.Code != iamhttp.ErrNotFound {
		return unexpected(err, iamhttp.ErrNotFound)
	}
	d.say("-> errors.As(err, &e), where e is a *iamhttp.StatusError")
	d.say("   e.Code:      %v", e.Code)
	d.say("   e.Message:   %s", e.Message)
	d.say("   e.RequestID: %s", e.RequestID)
	d.say("   e.Attempts:  %d", e.Attempts)
	d.say("   e.Stop:      %v", e.Stop)
	return nil
}

// unauthorized logs in as a user that does not exist. The service responds as it would to
// a wrong password, but no account can get locked.
func (d *demo) unauthorized(ctx context.Context) error {
	stranger := d.account
	stranger.UserName = randomName("nobody")
	stranger.Password = rand.Text()
	err := d.client.logIn(ctx, stranger)
	var code iamhttp.Code
	if !errors.As(err, &code) || code != iamhttp.ErrUnauthorized {
		return unexpected(err, iamhttp.ErrUnauthorized)
	}
	d.say("-> errors.As(err, &code): the code is %v", code)
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
	d.say("-> e.Stop is iamhttp.StopNotRetryable, despite the Retry-After")
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
		return fmt.Errorf("the call returned only after %v, although it could not succeed before its deadline", took)
	}
	d.say("-> e.Stop is iamhttp.StopDeadline: the call failed at once (%v), not at its deadline of 10s",
		max(took.Round(time.Millisecond), time.Millisecond))
	d.say("-> e.RetryAfter is %v: how long to wait before you try again", e.RetryAfter)
	return d.sent(1)
}

func (d *demo) upload(ctx context.Context) error {
	d.stage(iamtest.Throttled(time.Second))
	// Like a pipe, this body can be read only once.
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
	d.say("-> err is: %v", err)
	err = rec.Wrap(err)
	if !errors.Is(err, errSDK) || !errors.Is(err, iamhttp.ErrNotFound) {
		return unexpected(err, iamhttp.ErrNotFound)
	}
	d.say("-> rec.Wrap(err) is: %v", err)
	d.say("-> errors.Is finds both the SDK's own error and iamhttp.ErrNotFound")
	return nil
}

// cleanUp finds the users by name instead of ID, because a call that failed may still
// have created its user.
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
			errs = append(errs, fmt.Errorf("user %s may be left behind: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// stage makes the service respond to the next request with a, and resets the request
// count.
func (d *demo) stage(a iamtest.Answer) {
	d.arrived = len(d.service.Requests())
	d.service.Next(a)
}

// sent checks how often a staged scene's request has arrived, and prints the number.
func (d *demo) sent(want int) error {
	got := len(d.service.Requests()) - d.arrived
	if got != want {
		return fmt.Errorf("the service received %d requests instead of %d", got, want)
	}
	d.say("-> the service received the request %s", map[int]string{1: "once", 2: "twice"}[got])
	return nil
}

// randomName returns a short name, because some services accept at most 32 characters.
func randomName(prefix string) string {
	return prefix + "-" + strings.ToLower(rand.Text()[:12])
}

func unexpected(err error, want iamhttp.Code) error {
	if err == nil {
		return fmt.Errorf("expected %v, but there was no error", want)
	}
	return fmt.Errorf("expected %v, but the error is: %w", want, err)
}

// Command provider behaves like a Terraform provider for an identity service with a rate
// limit. By default, it plans, applies, plans and destroys 100 groups, 100 projects and
// 100 role assignments through gophercloud, several at a time, and does this three times:
// with gophercloud alone; with iamhttp, which requires one line of code; and with iamhttp
// and a gate. At the end, it prints a table of the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamgophercloud"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/examples/internal/interrupt"
	"github.com/iamhttp/iamhttp/gate"
)

const usage = `usage: go run ./examples/provider [flags]

Plans, applies, plans and destroys groups, projects and role assignments with
gophercloud, as a Terraform provider does, in three ways:

  as is                gophercloud alone: every throttled request is a failure
  one line             with iamhttp, which needs one line: nothing fails
  one line and a gate  with iamhttp and a gate: hardly any request is throttled

By default, the service runs in this process, and the three runs together take
about half a minute.

  -each n      number of groups, of projects and of role assignments (default
               100 of each)
  -parallel n  number of concurrent operations, like Terraform's -parallelism
               (default 10)
  -rate n      number of requests that the service accepts per second, and also
               at once after a pause (default 100); for a real service, its
               known limit
  -only name   run only the way with this name, such as "as is"
  -plain       print lines, not a progress bar (default if there is no terminal)

To run it against a real Keystone, set
` + account.Settings + `The resources are deleted afterwards. After an interrupt, resources that were
being created at that moment may be left behind; their names begin with
provider-.

Exit status: 0 if nothing failed in the last run, 2 if the flags or settings are
wrong, 1 otherwise.
`

func main() {
	ctx, stop := interrupt.Context()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program without cleaning up
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	os.Exit(run(ctx, os.Args[1:], os.Getenv, terminal, os.Stdout, os.Stderr))
}

const most = 100_000 // the largest number that a flag accepts

// A way is one of the ways of setting up gophercloud that the program compares.
type way struct {
	name      string
	configure func(*gophercloud.ProviderClient)
}

func ways() []way {
	return []way{
		{"as is", func(*gophercloud.ProviderClient) {}},
		{"one line", func(p *gophercloud.ProviderClient) { iamgophercloud.Configure(p, nil) }},
		{"one line and a gate", func(p *gophercloud.ProviderClient) {
			iamgophercloud.Configure(p, &iamhttp.Transport{Gate: new(gate.Adaptive), GateKey: gate.KeyByHost}) // because the service has one limit for reads and writes together
		}},
	}
}

// run is main with its inputs and outputs as parameters. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, terminal bool, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("provider", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	each := flags.Int("each", 100, "")
	parallel := flags.Int("parallel", 10, "")
	rate := flags.Int("rate", 100, "")
	only := flags.String("only", "", "")
	plain := flags.Bool("plain", false, "")
	err := flags.Parse(args)
	chosen := ways()
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "only" {
			chosen = slices.DeleteFunc(chosen, func(w way) bool { return w.name != *only })
		}
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case err == nil && (*each < 1 || *each > most || *parallel < 1 || *parallel > most || *rate < 1 || *rate > most):
		err = fmt.Errorf("-each, -parallel and -rate must be from 1 to %d", most)
	case err == nil && len(chosen) == 0:
		err = fmt.Errorf("-only: unknown name %q", *only)
	}
	endpoint, as, envErr := account.FromEnvironment(getenv)
	if err == nil {
		err = envErr
	}
	if err != nil {
		fmt.Fprintf(stderr, "provider: %v; -h lists the settings\n", err)
		return 2
	}

	show := lines(stdout)
	if terminal && !*plain {
		show = bar(stdout)
	}
	var results []result
	for _, w := range chosen {
		cloud := &counter{}
		if endpoint == "" {
			cloud.base = newService(*rate)
		}
		r, err := do(ctx, w, cloud, endpoint, as, job{each: *each, parallel: *parallel, show: show})
		results = append(results, r)
		if err != nil {
			fmt.Fprintf(stderr, "provider: %s: %v\n", w.name, err)
			return 1
		}
	}
	fmt.Fprint(stdout, "\n"+table(results, *rate))
	if last := results[len(results)-1]; last.failed > 0 {
		fmt.Fprintf(stderr, "provider: %s: %d failed; the first: %v\n", last.way, last.failed, last.first)
		return 1
	}
	return 0
}

// A result holds the results of one way or, with only failed and first set, of one phase.
type result struct {
	way                                       string
	needed, requests, throttled, failed, made int
	took                                      time.Duration
	first                                     error // the first failure
}

// do runs the job in one way, and then deletes the resources that the job has created but
// not deleted. The result holds the job's failures; the error comes from logging in or
// cleaning up, or is interrupt.Err.
func do(ctx context.Context, w way, cloud *counter, endpoint string, as account.Account, j job) (result, error) {
	identity, err := connect(ctx, w, cloud, endpoint, as)
	switch {
	case err != nil && ctx.Err() != nil:
		return result{way: w.name}, interrupt.Err
	case err != nil:
		return result{way: w.name}, fmt.Errorf("log in: %w", err)
	}
	cloud.reset()
	j.identity, j.cloud, j.name = identity, cloud, w.name
	r := j.run(ctx)
	r.way = w.name
	if j.left() {
		// Clean up with the gate, even after an interrupt, but for a limited time.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
		defer cancel()
		polite := ways()[2]
		if j.identity, err = connect(ctx, polite, cloud, endpoint, as); err != nil {
			return r, fmt.Errorf("log in to clean up: %w", err)
		}
		j.name = "clean up"
		if err := j.destroy(ctx).first; err != nil {
			return r, fmt.Errorf("resources with names like %s may be left behind: %w", j.resources[0].name, err)
		}
	}
	if ctx.Err() != nil {
		return r, interrupt.Err
	}
	return r, nil
}

// connect sets up gophercloud in the given way, and logs in. If endpoint is empty, it logs in
// to the service in this process.
func connect(ctx context.Context, w way, cloud *counter, endpoint string, as account.Account) (*gophercloud.ServiceClient, error) {
	if endpoint == "" {
		endpoint = "https://iam.example/v3"
		as = account.Account{UserName: "admin", Password: "p", UserDomain: "Default", Project: "admin", ProjectDomain: "Default"}
	}
	provider, err := openstack.NewClient(endpoint)
	if err != nil {
		return nil, err
	}
	provider.HTTPClient.Transport = cloud
	w.configure(provider)
	err = openstack.Authenticate(ctx, provider, gophercloud.AuthOptions{
		IdentityEndpoint: endpoint, Username: as.UserName, Password: as.Password, DomainName: as.UserDomain, AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: as.Project, DomainName: as.ProjectDomain},
	})
	if err != nil {
		return nil, err
	}
	// The endpoint is not taken from the catalog, which may contain the service's own
	// address instead of the rate-limiting gateway's.
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: endpoint + "/", Type: "identity"}, nil
}

// table formats each way's results and, for comparison, those of an ideal client, which
// sends only the requests that are needed, as early as the service accepts them.
func table(results []result, rate int) string {
	var b strings.Builder
	b.WriteString("| | requests | throttled | failed | created | time |\n|---|--:|--:|--:|--:|--:|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %.1f s |\n", r.way, r.requests, r.throttled, r.failed, r.made, r.took.Seconds())
	}
	needed := results[len(results)-1].needed
	ideal := max(float64(needed-rate)/float64(rate), 0)
	fmt.Fprintf(&b, "| ideal | %d | 0 | 0 | %d | %.1f s |\n", needed, (needed-1)/4, ideal)
	return b.String()
}

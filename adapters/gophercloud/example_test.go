package iamgophercloud_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/iamhttp/iamhttp"
	iamgophercloud "github.com/iamhttp/iamhttp/adapters/gophercloud"
	"github.com/iamhttp/iamhttp/iamtest"
)

// deleteUser is what a program on gophercloud looks like, the typed error in
// its hands.
func deleteUser(ctx context.Context, authURL, password, id string) error {
	provider, err := openstack.NewClient(authURL)
	if err != nil {
		return err
	}
	iamgophercloud.Configure(provider, nil)
	err = openstack.Authenticate(ctx, provider, gophercloud.AuthOptions{
		IdentityEndpoint: authURL, Username: "admin", Password: password, DomainName: "Default", AllowReauth: true,
	})
	if err != nil {
		return err
	}
	identity, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{})
	if err != nil {
		return err
	}
	ctx, rec := iamhttp.WithRecorder(ctx) // what gophercloud keeps to itself is here
	return rec.Wrap(users.Delete(ctx, identity, id).ExtractErr())
}

func Example() {
	service := httptest.NewServer(nil)
	defer service.Close()
	service.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case "GET": // version discovery
			w.WriteHeader(http.StatusMultipleChoices)
			fmt.Fprintf(w, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}]}}`, service.URL)
		case "POST": // a token
			w.Header().Set("X-Subject-Token", "t")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":{"catalog":[{"type":"identity","endpoints":[{"interface":"public","url":"%s/v3/"}]}]}}`, service.URL)
		default:
			iamtest.Keystone(404, "Could not find user: bob.").With("X-Openstack-Request-Id", "req-42").ServeHTTP(w, r)
		}
	})

	err := deleteUser(context.Background(), service.URL, "p", "bob")
	fmt.Println(gophercloud.ResponseCodeIs(err, http.StatusNotFound), errors.Is(err, iamhttp.ErrNotFound))
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
		fmt.Println(e)
	}
	// Output:
	// true true
	// iam: 404 NotFound: "Could not find user: bob." (request req-42)
}

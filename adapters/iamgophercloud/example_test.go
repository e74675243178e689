package iamgophercloud_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

func Example() {
	service := httptest.NewServer(nil)
	defer service.Close()
	service.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case "GET": // the request is for version discovery
			w.WriteHeader(http.StatusMultipleChoices)
			fmt.Fprintf(w, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}]}}`, service.URL)
		case "POST": // the request is for a token
			w.Header().Set("X-Subject-Token", "t")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":{"catalog":[{"type":"identity","endpoints":[{"interface":"public","url":"%s/v3/"}]}]}}`, service.URL)
		default:
			iamtest.Keystone(404, "Could not find user: bob.").With("X-Openstack-Request-Id", "req-42").ServeHTTP(w, r)
		}
	})

	for name, value := range map[string]string{
		"OS_AUTH_URL": service.URL, "OS_USERNAME": "admin", "OS_PASSWORD": "p", "OS_DOMAIN_NAME": "Default",
	} {
		os.Setenv(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := deleteUser(ctx, "bob") // deleteUser is in first_steps_test.go
	fmt.Println(gophercloud.ResponseCodeIs(err, http.StatusNotFound), errors.Is(err, iamhttp.ErrNotFound))
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e)
	}
	// Output:
	// true true
	// iamhttp: 404 NotFound: "Could not find user: bob." (request req-42, sent once: not retryable)
}

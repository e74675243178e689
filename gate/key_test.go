package gate_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

func TestReadsAndWritesOfAHostHaveDifferentKeys(t *testing.T) {
	for method, want := range map[string]string{
		"": "iam.example", "GET": "iam.example", "HEAD": "iam.example", "OPTIONS": "iam.example", "TRACE": "iam.example",
		"POST": "iam.example writes", "PUT": "iam.example writes", "PATCH": "iam.example writes", "DELETE": "iam.example writes",
		"PROPFIND": "iam.example writes", // not a method of RFC 9110, so it counts as a write
	} {
		r := httptest.NewRequest(http.MethodGet, "https://IAM.example.:443/v3/users", nil)
		r.Method = method
		for range 2 { // the second time, the key of a write comes from the cache
			assert.Equal(t, want, gate.KeyByHostAndMethod(r), method)
		}
		assert.Equal(t, "iam.example", gate.KeyByHost(r), method)
	}
}

func TestSpellingsOfAHostAndPortHaveTheSameKey(t *testing.T) {
	for url, want := range map[string]string{
		"https://iam.example:443":   "iam.example",
		"https://iam.example:0443":  "iam.example",
		"http://iam.example:00080":  "iam.example",
		"https://iam.example.:8443": "iam.example:8443",
		"https://iam.example:08443": "iam.example:8443",
		"https://iam.example:80":    "iam.example:80",
		"https://iam.example:":      "iam.example",
		"https://iam.example:0":     "iam.example:0",
		"https://[2001:DB8::1]":     "[2001:db8::1]",
		"https://[2001:db8::0]":     "[2001:db8::0]",
		"https://[2001:db8::1]:443": "[2001:db8::1]",
	} {
		assert.Equal(t, want, gate.KeyByHost(httptest.NewRequest(http.MethodGet, url, nil)), url)
	}
}

func TestKeyOfALowerCaseHostIsNotAllocatedForEachRequest(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		r := httptest.NewRequest(method, "https://iam.example/v3/users", nil)
		assert.Zero(t, testing.AllocsPerRun(100, func() { gate.KeyByHostAndMethod(r) }), method)
	}
}

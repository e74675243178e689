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

func TestKeyOfALowerCaseHostIsNotAllocatedForEachRequest(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		r := httptest.NewRequest(method, "https://iam.example/v3/users", nil)
		assert.Zero(t, testing.AllocsPerRun(100, func() { gate.KeyByHostAndMethod(r) }), method)
	}
}

package iamhuaweicloud_test

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/aksk"
)

var update = flag.Bool("update", false, "rewrite testdata/aksk_vectors.txt in the root module")

// drawn returns a random request that the SDK has signed, in the form in which it would
// be sent.
func drawn(t *testing.T, r *rand.Rand, derived bool) *http.Request {
	t.Helper()
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	word := func() string {
		letters := []rune("aZ09-_.~ %+/?#&=;:,'\"<>{}|\\^`()*!@$[]äßюж😀")
		b := make([]rune, 1+r.IntN(8))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	host := pick("iam.example", "iam.example:8443", "192.0.2.1", "[2001:db8::1]:443", "iam.eu-de.otc.example")
	path := pick("", "/", "/v3/users", "/v3/users/", "/v3//users") + pick("", "", "/"+word(), "/"+word()+"/"+word())
	b := request.NewHttpRequestBuilder().WithEndpoint(pick("https://", "http://") + host).WithPath(path).
		WithMethod(pick("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
	for range r.IntN(5) {
		key := pick("name", "limit", "a b", "ü", "Limit", "x[y]", "marker", word())
		switch r.IntN(4) {
		case 0:
			b.AddQueryParam(key, reflect.ValueOf([]string{word(), "", word()}))
		case 1:
			b.AddQueryParam(key, reflect.ValueOf(r.IntN(100)))
		case 2:
			b.AddQueryParam(key, reflect.ValueOf(""))
		default:
			b.AddQueryParam(key, reflect.ValueOf(word()))
		}
	}
	b.AddHeaderParam("Host", host).AddHeaderParam("User-Agent", "huaweicloud-usdk-go/3.0; "+pick("a", "b  c"))
	b.AddHeaderParam("X-Sdk-Date", time.Unix(1_780_000_000+r.Int64N(1e8), 0).UTC().Format("20060102T150405Z"))
	for range r.IntN(4) {
		b.AddHeaderParam(pick("X-Project-Id", "X-Domain-Id", "Accept", "X_Under_Score", "x-lower-case", "X-Language"), pick("", " ", "\t")+pick("v", "a  b", "юж", "")+pick("", "  "))
	}
	if r.IntN(3) == 0 {
		b.AddHeaderParam("X-Security-Token", "token/"+pick("a", "b")+"==")
	}
	switch r.IntN(6) {
	case 0, 1:
		b.AddHeaderParam("Content-Type", "application/json;charset=UTF-8").WithBody("", map[string]any{"user": map[string]any{"name": word(), "enabled": r.IntN(2) == 0}})
	case 2:
		b.AddHeaderParam("Content-Type", pick("text/plain", "application/octet-stream")).WithBody("", word())
	case 3:
		b.AddHeaderParam("Content-Type", "application/json").AddHeaderParam("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD").WithBody("", word())
	}
	req := b.Build()
	var added map[string]string
	var err error
	if derived {
		added, err = signer.GetDerivedSigner().Sign(req, "AKEXAMPLE", "SKEXAMPLE", "iam", pick("eu-de", "globe"))
	} else {
		added, err = signer.Sign(req, "AKEXAMPLE", "SKEXAMPLE")
	}
	require.NoError(t, err)
	for k, v := range added {
		req.AddHeaderParam(k, v)
	}
	sent, err := req.ConvertRequest()
	require.NoError(t, err)
	return sent
}

func TestSignaturesEqualThoseOfTheSDK(t *testing.T) {
	const requests = 10_000
	for i := range requests {
		req := drawn(t, rand.New(rand.NewPCG(1, uint64(i))), i%4 == 3)
		want := req.Header.Get("Authorization")
		at, err := time.Parse("20060102T150405Z", req.Header.Get("X-Sdk-Date"))
		require.NoError(t, err)
		c := aksk.Credentials{AccessKey: "AKEXAMPLE", SecretKey: "SKEXAMPLE", SecurityToken: req.Header.Get("X-Security-Token")}
		require.NoError(t, aksk.Sign(req, c, at))
		if !assert.Equal(t, want, req.Header.Get("Authorization"), "request %d has a different signature if it is signed again: %s %s %q", i, req.Method, req.URL, req.Header) {
			return
		}
		if i%4 == 3 {
			continue
		}
		req.Header.Del("Authorization")
		require.NoError(t, aksk.Sign(req, c, at))
		if !assert.Equal(t, want, req.Header.Get("Authorization"), "request %d has a different signature if it is signed for the first time: %s %s %q", i, req.Method, req.URL, req.Header) {
			return
		}
	}
}

// TestVectorsForPackageAKSKAreUpToDate checks or writes 48 signed requests for package
// aksk's tests, which cannot use the SDK. To write them, run:
//
//	GOWORK=off go test -run Vectors -update .
func TestVectorsForPackageAKSKAreUpToDate(t *testing.T) {
	const file = "../../testdata/aksk_vectors.txt"
	var b strings.Builder
	for i := range 48 {
		req := drawn(t, rand.New(rand.NewPCG(2, uint64(i))), i%4 == 3)
		fmt.Fprintln(&b, req.Method, req.URL)
		for _, k := range slices.Sorted(maps.Keys(req.Header)) {
			for _, v := range req.Header[k] {
				fmt.Fprintln(&b, strings.TrimSpace(k+": "+strings.TrimSpace(v)))
			}
		}
		body, err := io.ReadAll(req.Body)
		require.NoError(t, err)
		for line := range strings.Lines(string(body)) {
			fmt.Fprintln(&b, "| "+strings.TrimSuffix(line, "\n"))
		}
		fmt.Fprintln(&b)
	}
	vectors := strings.TrimSpace(b.String()) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(vectors), 0o600))
		return
	}
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(written), vectors, "the vectors are out of date; to rewrite them, run: GOWORK=off go test -run Vectors -update .")
}

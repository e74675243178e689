package iamhttp_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// The documents show these in a form that no example has.
var _ = []any{forSDK, mayBeResent, forLogin}

func forSDK(base http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: &iamhttp.Transport{Base: base, PassThrough: true},
		Timeout:   time.Minute,
	}
}

func mayBeResent(login *http.Request) {
	login.Header["Idempotency-Key"] = []string{} // without a value: nothing is sent
}

func forLogin(ctx context.Context) context.Context {
	return iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests)
}

// A reader pastes a block without what is around it, and imports what it needs. The
// READMEs of the adapters, and what SDKs are measured with, speak of values that the
// reader has.
func TestGoBlocksInDocumentsDeclareTheValuesTheyUse(t *testing.T) {
	imported := map[string]bool{}
	for _, text := range files(t, ".go") {
		file, err := parser.ParseFile(token.NewFileSet(), "", text, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range file.Imports {
			imported[packageName.FindStringSubmatch(i.Path.Value)[1]] = true
		}
	}
	for path, text := range files(t, ".md") {
		if strings.HasPrefix(path, "adapters/") {
			continue
		}
		for _, code := range goBlocks(t, text) {
			if firstStep.MatchString(code) {
				continue // has other files beside it
			}
			for _, id := range undeclared(t, code) {
				if path == "docs/otc.md" && slices.Contains([]string{"provider", "client", "shared"}, id) {
					continue // the SDK's, of packages that are not imported here, and the reader's gate
				}
				assert.True(t, imported[id], "%s: nothing in this block declares %s:\n%s", path, id, code)
			}
		}
	}
}

// packageName finds the usual name of a package in its quoted path.
var packageName = regexp.MustCompile(`(?:go-)?([^/"]+)(?:/v\d+)?"$`)

// undeclared returns the names in code, a file or a part of one, that it does not
// declare.
func undeclared(t *testing.T, code string) (names []string) {
	t.Helper()
	var file *ast.File
	var err error
	for _, text := range []string{code, "package p\n" + code, "package p\nfunc _() {\n" + code + "}"} {
		if file, err = parser.ParseFile(token.NewFileSet(), "", text, 0); err == nil {
			break
		}
	}
	require.NoError(t, err, code)
	for _, id := range file.Unresolved {
		if types.Universe.Lookup(id.Name) == nil {
			names = append(names, id.Name)
		}
	}
	return names
}

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

// The documents show the following functions, which are not part of any example.
var _ = []any{forSDK, mayBeResent, forLogin}

func forSDK(base http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: &iamhttp.Transport{Base: base, PassThrough: true},
		Timeout:   time.Minute,
	}
}

func mayBeResent(login *http.Request) {
	login.Header["Idempotency-Key"] = []string{} // without a value, the header is not sent
}

func forLogin(ctx context.Context) context.Context {
	return iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests)
}

// Readers copy a block without its context and add only the imports, so each block must
// declare every value that it uses. The documents in adapters, and docs/otc.md, are
// exceptions: their blocks may use values that the reader already has.
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
				continue // a whole file, which may use other files
			}
			for _, id := range undeclared(t, code) {
				if path == "docs/otc.md" && slices.Contains([]string{"provider", "client", "shared"}, id) {
					continue // the reader's SDK clients and gate
				}
				assert.True(t, imported[id], "%s: nothing in this block declares %s:\n%s", path, id, code)
			}
		}
	}
}

// packageName finds the usual name of a package in its quoted import path.
var packageName = regexp.MustCompile(`(?:go-)?([^/"]+)(?:/v\d+)?"$`)

// undeclared returns the names that code uses but does not declare, except predeclared
// ones. The code is a whole file or part of a file.
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

package iamhttp_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Entry points are the functions, types and methods that a program uses by name.
// noEntryPoint lists exported names that do not count as entry points and need no example:
// methods that exist because the standard library, retryers, Kubernetes or package
// redisgate call them; Ticket, which is opaque; and Priority, which the example of
// WithPriority shows.
var noEntryPoint = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "As": true, "String": true, "Timeout": true,
	"GoString": true, "CloseIdleConnections": true, "WrappedRoundTripper": true,
	"RoundTrip": true, "Format": true, "MarshalText": true, "GobEncode": true, "LogValue": true,
	"NonRetriable": true, "RetryableError": true, "Ticket": true, "Join": true, "Priority": true,
}

func TestEveryEntryPointHasAnExampleAndADocComment(t *testing.T) {
	for _, dir := range []string{".", "aksk", "gate", "gatetest", "iamsdk", "iamtest", "roundtriptest"} {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		fset := token.NewFileSet()
		var parsed []*ast.File
		for _, f := range files {
			if filepath.Ext(f.Name()) == ".go" {
				file, err := parser.ParseFile(fset, filepath.Join(dir, f.Name()), nil, parser.ParseComments)
				require.NoError(t, err)
				parsed = append(parsed, file)
			}
		}
		p, err := doc.NewFromFiles(fset, parsed, "github.com/iamhttp/iamhttp/"+dir)
		require.NoError(t, err)
		assert.NotEmpty(t, p.Examples, "%s has no package example", p.Name)
		assert.NotEmpty(t, p.Doc, "%s has no package comment", p.Name)
		check := func(name, comment string, examples []*doc.Example) {
			assert.NotEmpty(t, comment, "%s.%s has no doc comment", p.Name, name)
			if !noEntryPoint[name[strings.LastIndexByte(name, '.')+1:]] {
				assert.NotEmpty(t, examples, "%s.%s has no example", p.Name, name)
			}
		}
		for _, f := range p.Funcs {
			check(f.Name, f.Doc, f.Examples)
		}
		for _, typ := range p.Types {
			check(typ.Name, typ.Doc, typ.Examples)
			for _, f := range typ.Funcs {
				check(f.Name, f.Doc, f.Examples)
			}
			for _, m := range typ.Methods {
				check(typ.Name+"."+m.Name, m.Doc, m.Examples)
			}
		}
	}
}

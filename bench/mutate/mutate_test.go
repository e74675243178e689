package main

import (
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const small = `package a

const none = 0

func a(n int, ok bool) (int, error) {
	if ok && n < 3 {
		n++
		return n, nil
	}
	defer b()
	return 0, b()
}
`

func TestEachThingIsChangedOnItsOwn(t *testing.T) {
	all, err := mutants("a.go", []byte(small))
	require.NoError(t, err)
	var got []string
	for _, m := range all {
		got = append(got, m.String())
	}
	assert.Equal(t, []string{
		"a.go a: ok && n < 3 → ok || n < 3",
		"a.go a: n < 3 → n <= 3",
		"a.go a: n < 3 → n >= 3",
		"a.go a: n < 3 → n < (3 + 1)",
		"a.go a: n++ → {}",
		"a.go a: n → *new(int)",
		"a.go a: defer b() → {}",
		"a.go a: b() → *new(error)",
	}, got)
}

func TestEachMutantIsAFunctionBesideTheOriginal(t *testing.T) {
	source := []byte(`package a

func (s *set) add(_ int, more ...int) {
	s.n++
}
`)
	all, err := mutants("a.go", source)
	require.NoError(t, err)
	f, err := combine("a.go", source, all, nil)
	require.NoError(t, err)
	assert.Equal(t, `package a

func (s *set) add(blank0 int, more ...int) { switch mutant { case 1: s.mutant1_add(blank0, more...); return; }; 
	s.n++
}
func (s *set) mutant1_add(_ int, more ...int) {
	{}
}
`, f.text)
}

func TestWhatDoesNotCompileIsLeftOut(t *testing.T) {
	all, err := mutants("a.go", []byte(small))
	require.NoError(t, err)
	whole, err := combine("a.go", []byte(small), all, nil)
	require.NoError(t, err)
	_, err = parser.ParseFile(token.NewFileSet(), "a.go", whole.text, 0)
	require.NoError(t, err)
	require.Len(t, whole.variants, len(all))
	assert.Equal(t, variant{whole.first, 0}, whole.variants[0])
	part, err := combine("a.go", []byte(small), all, map[int]bool{0: true})
	require.NoError(t, err)
	assert.NotContains(t, part.text, "mutant1_a")
	assert.Len(t, part.variants, len(all)-1)
}

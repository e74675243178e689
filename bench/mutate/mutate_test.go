package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachThingIsChangedOnItsOwn(t *testing.T) {
	all, err := mutants("a.go", []byte(`package a

const none = 0

func a(n int, ok bool) (int, error) {
	if ok && n < 3 {
		n++
		return n, nil
	}
	defer b()
	return 0, b()
}
`))
	require.NoError(t, err)
	var got []string
	for _, m := range all {
		got = append(got, m.String())
		assert.True(t, strings.HasPrefix(string(m.source), "package a\n\nconst none = 0\n"), "what is no function stays")
	}
	assert.Equal(t, []string{
		"a.go a: ok && n < 3 → ok || n < 3",
		"a.go a: n < 3 → n <= 3",
		"a.go a: n < 3 → n >= 3",
		"a.go a: 3 → (3 + 1)",
		"a.go a: n++ → {}",
		"a.go a: n → *new(int)",
		"a.go a: defer b() → {}",
		"a.go a: b() → *new(error)",
	}, got)
}

package chain_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/chain"
)

type wrapped struct{ http.RoundTripper }

func (w wrapped) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

type opaque struct{ http.RoundTripper }

// cycle is a RoundTripper that wraps itself.
type cycle struct{ http.RoundTripper }

func (c cycle) WrappedRoundTripper() http.RoundTripper { return c }

func TestTheChainEndsWhereARoundTripperDoesNotRevealWhatItWraps(t *testing.T) {
	base := new(http.Transport)
	hidden := opaque{base}
	assert.Empty(t, slices.Collect(chain.Of(nil)))
	assert.Equal(t, []http.RoundTripper{wrapped{base}, base}, slices.Collect(chain.Of(wrapped{base})))
	assert.Equal(t, []http.RoundTripper{wrapped{hidden}, hidden}, slices.Collect(chain.Of(wrapped{hidden})))
	assert.Len(t, slices.Collect(chain.Of(cycle{})), 100)

	found, ok := chain.Find[*http.Transport](wrapped{wrapped{base}})
	assert.True(t, ok)
	assert.Same(t, base, found)
	_, ok = chain.Find[*http.Transport](hidden)
	assert.False(t, ok)

	assert.True(t, chain.Has(wrapped{wrapped{base}}, func(w wrapped) bool { return w.RoundTripper == base }))
	assert.False(t, chain.Has(wrapped{base}, func(*http.Transport) bool { return false }))
}

func TestDepthCountsTheCallsOfAFunctionThatHasCalledItself(t *testing.T) {
	assert.Equal(t, []int{3, 2, 1}, calls(2))
}

// calls recurses n times, and returns the results of Depth at all levels, from the
// innermost to the outermost.
func calls(n int) []int {
	var below []int
	if n > 0 {
		func() { below = calls(n - 1) }() // this function literal indirectly calls itself, too
	}
	depth := chain.Depth(0)
	func() {
		if chain.Depth(1) != depth {
			panic("Depth(1) must return the same as Depth(0) in the caller")
		}
	}()
	return append(below, depth)
}

// asking is a RoundTripper that asks whether it is within outer.
type asking struct {
	outer  http.RoundTripper
	within bool
}

func (a *asking) RoundTrip(*http.Request) (*http.Response, error) {
	a.within = chain.Within(a.outer, a)
	return nil, http.ErrNotSupported
}

type (
	byPointer struct{ next http.RoundTripper }
	byValue   struct{ next http.RoundTripper }
	function  func(*http.Request) (*http.Response, error)
	concrete  struct{ next *byPointer }
)

func (b *byPointer) RoundTrip(req *http.Request) (*http.Response, error) {
	return b.next.RoundTrip(req)
}
func (b byValue) RoundTrip(req *http.Request) (*http.Response, error)  { return b.next.RoundTrip(req) }
func (f function) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
func (c concrete) RoundTrip(req *http.Request) (*http.Response, error) { return c.next.RoundTrip(req) }

func TestARoundTripperFindsOutThatAnotherOneThatHoldsItIsRunning(t *testing.T) {
	for name, tt := range map[string]struct {
		outer func(*asking) http.RoundTripper
		want  bool
	}{
		"a pointer":                  {func(a *asking) http.RoundTripper { return &byPointer{a} }, true},
		"a value":                    {func(a *asking) http.RoundTripper { return byValue{a} }, true},
		"a pointer to a value":       {func(a *asking) http.RoundTripper { return &byValue{a} }, true},
		"a pointer to another type":  {func(a *asking) http.RoundTripper { return concrete{&byPointer{a}} }, true},
		"several":                    {func(a *asking) http.RoundTripper { return &byPointer{byValue{opaque{a}}} }, true},
		"a function":                 {func(a *asking) http.RoundTripper { return function(a.RoundTrip) }, false},
		"no code of its own":         {func(a *asking) http.RoundTripper { return opaque{a} }, false},
		"no other, but there is one": {func(a *asking) http.RoundTripper { a.outer = byValue{a}; return a }, false},
		"another one of the same type": {func(a *asking) http.RoundTripper {
			a.outer = &byPointer{http.DefaultTransport}
			return &byPointer{a}
		}, false},
		"another one without a field": {func(a *asking) http.RoundTripper { a.outer = byValue{}; return byValue{a} }, false},
	} {
		a := new(asking)
		outer := tt.outer(a)
		if a.outer == nil {
			a.outer = outer
		}
		_, err := outer.RoundTrip(nil) //nolint:bodyclose // there is no response
		assert.ErrorIs(t, err, http.ErrNotSupported, name)
		assert.Equal(t, tt.want, a.within, name)
	}
	assert.False(t, chain.Within(nil, new(asking)))
}

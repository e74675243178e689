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

// function is a RoundTripper that wraps itself, and that == cannot compare.
type function func()

func (f function) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, http.ErrSkipAltProtocol
}
func (f function) WrappedRoundTripper() http.RoundTripper { return f }

func TestTheChainEndsWhereARoundTripperDoesNotRevealWhatItWraps(t *testing.T) {
	base := new(http.Transport)
	hidden := opaque{base}
	assert.Empty(t, slices.Collect(chain.Of(nil)))
	assert.Equal(t, []http.RoundTripper{wrapped{base}, base}, slices.Collect(chain.Of(wrapped{base})))
	assert.Equal(t, []http.RoundTripper{wrapped{hidden}, hidden}, slices.Collect(chain.Of(wrapped{hidden})))
	assert.Equal(t, []http.RoundTripper{wrapped{cycle{}}, cycle{}}, slices.Collect(chain.Of(wrapped{cycle{}})))
	assert.Len(t, slices.Collect(chain.Of(function(nil))), 100)

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

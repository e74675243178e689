package bounded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/bounded"
)

func TestAPeekedBodyYieldsTheSameDataAndErrorAsTheOriginal(t *testing.T) {
	reset := errors.New("reset")
	for name, tt := range map[string]struct {
		text      string
		err       error
		length    int64
		peeked    int
		truncated bool
	}{
		"a body that ends":                        {"text", io.EOF, 4, 4, false},
		"a body of unknown length that ends":      {"text", io.EOF, -1, 4, false},
		"a body of 5000 bytes":                    {strings.Repeat("0123456789", 500), io.EOF, 5000, 5000, false},
		"an empty body":                           {"", io.EOF, 0, 0, false},
		"a body that breaks off":                  {"text", reset, -1, 4, true},
		"a body of 64 KiB, whose end is not read": {strings.Repeat("x", bounded.Max), io.EOF, -1, bounded.Max, true},
		"a body of 64 KiB and 1 byte":             {strings.Repeat("x", bounded.Max+1), io.EOF, -1, bounded.Max, true},
		"a body that breaks off after 64 KiB":     {strings.Repeat("x", bounded.Max), reset, -1, bounded.Max, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := body(tt.text, tt.err)
			resp := response(b, tt.length)
			data, truncated := bounded.Peek(t.Context(), resp, time.Minute)
			assert.Equal(t, tt.text[:tt.peeked], string(data))
			assert.Equal(t, tt.truncated, truncated)
			rest, err := io.ReadAll(iotest.OneByteReader(resp.Body))
			assert.Equal(t, tt.text, string(rest))
			if tt.err == io.EOF {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, tt.err)
			}
			_, closes := b.counts()
			assert.Zero(t, closes, "Peek must not close the body")
			assert.NoError(t, resp.Body.Close())
			_, closes = b.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

func TestPeekReturnsInTimeAndLosesNoData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := body("texttext", io.EOF), time.Now()
		b.drips = time.Second
		resp := response(b, 8)
		data, truncated := bounded.Peek(t.Context(), resp, 3500*time.Millisecond)
		assert.Equal(t, 3500*time.Millisecond, time.Since(start))
		assert.Equal(t, "tex", string(data))
		assert.True(t, truncated)
		time.Sleep(time.Minute)
		read, _ := b.counts()
		assert.Equal(t, 4, read, "want the 3 bytes that Peek returned and 1 byte from the Read that was still waiting when Peek returned")
		whole, err := io.ReadAll(resp.Body)
		assert.Equal(t, "texttext", string(whole))
		assert.NoError(t, err)
	})
}

// A RoundTripper below may have read ahead, too.
func TestTimesOfSeveralPeeksAtOneBodyDoNotAddUp(t *testing.T) {
	const first, limit = 50 * time.Millisecond, 5 * time.Second
	for name, second := range map[string]func(ctx context.Context, resp *http.Response) ([]byte, bool){
		"a second Peek": func(ctx context.Context, resp *http.Response) ([]byte, bool) {
			return bounded.Peek(ctx, resp, limit)
		},
		"ReadAndClose": func(ctx context.Context, resp *http.Response) ([]byte, bool) {
			data, truncated, stuck := bounded.ReadAndClose(ctx, resp, bounded.Max, limit)
			assert.False(t, stuck)
			return data, truncated
		},
	} {
		for _, inflated := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", inflated ", inflated), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, start := body("text", nil), time.Now()
					resp := response(b, -1)
					resp.Uncompressed = inflated
					bounded.Peek(t.Context(), resp, first)
					bounded.Peek(t.Context(), resp, limit)
					assert.Equal(t, limit, time.Since(start), "the first Peek counts")
					data, truncated := second(t.Context(), resp)
					assert.Equal(t, "text", string(data))
					assert.True(t, truncated)
					assert.Equal(t, limit, time.Since(start), "the time was used up")
					resp.Body.Close()
					synctest.Wait()
					_, closes := b.counts()
					assert.Equal(t, 1, closes)
				})
			})
		}
	}
}

func TestABodyThatIsStuckAfterAPeekIsReportedAsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := make(stuck), time.Now()
		resp := response(b, -1)
		resp.Uncompressed = true
		bounded.Peek(t.Context(), resp, time.Second)
		data, truncated, stuck := bounded.ReadAndClose(t.Context(), resp, bounded.Max, time.Second)
		assert.Equal(t, 1100*time.Millisecond, time.Since(start))
		assert.Empty(t, data)
		assert.True(t, truncated)
		assert.True(t, stuck)
		close(b)
	})
}

func TestPeekReturnsAllDataOfABodyThatWasReadAhead(t *testing.T) {
	b := body("text", io.EOF)
	resp := response(b, 4)
	for range 2 {
		data, truncated := bounded.Peek(t.Context(), resp, time.Minute)
		assert.Equal(t, "text", string(data))
		assert.False(t, truncated)
	}
}

func TestPeekReadsAtMost64KiB(t *testing.T) {
	b := body("", nil)
	b.text = io.MultiReader(strings.NewReader("x"), endless{})
	data, truncated := bounded.Peek(t.Context(), response(b, -1), time.Minute)
	assert.Len(t, data, bounded.Max)
	assert.True(t, truncated)
	read, _ := b.counts()
	assert.Equal(t, bounded.Max, read)
}

func TestACanceledPeekClosesTheBodyAndKeepsItsBeginningReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		b, start := body("text", nil), time.Now()
		resp := response(b, -1)
		data, truncated := bounded.Peek(ctx, resp, time.Minute)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, "text", string(data))
		assert.True(t, truncated)
		rest, err := io.ReadAll(resp.Body)
		assert.Equal(t, "text", string(rest))
		assert.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		_, closes := b.counts()
		assert.Equal(t, 1, closes)
	})
}

func TestPeekStopsIfReadReturnsNeitherDataNorError(t *testing.T) {
	b := body("", nil)
	b.text = io.MultiReader(strings.NewReader("text"), idle{})
	resp := response(b, -1)
	data, truncated := bounded.Peek(t.Context(), resp, time.Minute)
	assert.Equal(t, "text", string(data))
	assert.True(t, truncated)
	_, err := io.Copy(new(bytes.Buffer), resp.Body)
	assert.ErrorIs(t, err, io.ErrNoProgress)
}

func TestPeekSetsHTTPNoBodyIfThereIsNoBody(t *testing.T) {
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		resp := response(none, 0)
		data, truncated := bounded.Peek(t.Context(), resp, time.Minute)
		assert.Empty(t, data)
		assert.False(t, truncated)
		assert.Equal(t, http.NoBody, resp.Body)
	}
}

func TestReadWithAnEmptyBufferFromAPeekedBodyDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := body("", nil), time.Now()
		resp := response(b, -1)
		bounded.Peek(t.Context(), resp, time.Second)
		n, err := resp.Body.Read(nil)
		assert.Zero(t, n)
		assert.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start))
		assert.NoError(t, resp.Body.Close())
	})
}

// A server can announce a long body and end it soon.
func TestPeekedDataNeedsNoMoreMemoryThanItsLength(t *testing.T) {
	resp := &http.Response{Body: io.NopCloser(strings.NewReader("no such user")), ContentLength: 65000}
	data, _ := bounded.Peek(t.Context(), resp, time.Second)
	assert.Equal(t, "no such user", string(data))
	assert.LessOrEqual(t, cap(data), 600)
}

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
	"github.com/stretchr/testify/require"

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
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		b, start := body("text", nil), time.Now()
		resp := response(b, -1)
		data, truncated := bounded.Peek(ctx, resp, time.Minute)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, "text", string(data))
		assert.True(t, truncated)
		rest, err := io.ReadAll(resp.Body)
		assert.Equal(t, "text", string(rest))
		assert.Equal(t, gone, err)
		synctest.Wait()
		_, closes := b.counts()
		assert.Equal(t, 1, closes)
	})
}

// A body of net/http fails when the context of its request ends: over HTTP/1 with the
// context's cause, over HTTP/2 with its error.
func TestAPeekedBodyThatFailsWhenTheContextEndsYieldsItsOwnError(t *testing.T) {
	for _, when := range []time.Duration{time.Second, time.Minute} { // during Peek, and after it
		synctest.Test(t, func(t *testing.T) {
			own := errors.New("stream reset")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(when, func() { cancel(errors.New("gone")) })
			b := body("", nil)
			b.text = io.MultiReader(strings.NewReader("text"), readerFunc(func([]byte) (int, error) {
				<-ctx.Done()
				time.Sleep(time.Millisecond)
				return 0, own
			}))
			resp := response(b, -1)
			data, truncated := bounded.Peek(ctx, resp, 2*time.Second)
			assert.Equal(t, "text", string(data))
			assert.True(t, truncated)
			rest, err := io.ReadAll(resp.Body)
			assert.Equal(t, "text", string(rest))
			assert.Equal(t, own, err)
			_, closes := b.counts()
			assert.Zero(t, closes, "the caller closes the body")
		})
	}
}

// A late context has not yet run the functions of AfterFunc when reading ahead has ended.
type late struct{ context.Context }

func (late) AfterFunc(func()) func() bool { return func() bool { return true } }

func (late) Value(any) any { return nil } // otherwise, package context does not call AfterFunc

func TestABodyThatStillYieldsDataAfterTheContextHasEndedIsClosed(t *testing.T) {
	const canceled = 2 * time.Second
	for name, limit := range map[string]time.Duration{
		"the context ends during Peek":                         time.Minute,
		"the context ends while a Read goes on after Peek":     canceled - 10*time.Millisecond,
		"the context ends during Peek, but its functions wait": time.Hour,
	} {
		for _, drips := range []time.Duration{45 * time.Millisecond, 65 * time.Millisecond, 290 * time.Millisecond} {
			for _, inflated := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", a byte every ", drips, ", inflated ", inflated), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						gone := errors.New("gone")
						ctx, cancel := context.WithCancelCause(t.Context())
						time.AfterFunc(canceled, func() { cancel(gone) })
						if limit == time.Hour {
							ctx, gone = late{ctx}, context.Canceled
						}
						b, start := body(strings.Repeat("x", 10000), io.EOF), time.Now()
						b.drips = drips
						resp := response(b, -1)
						resp.Uncompressed = inflated
						_, truncated := bounded.Peek(ctx, resp, limit)
						assert.Equal(t, min(limit, canceled), time.Since(start))
						assert.True(t, truncated)
						text, err := io.ReadAll(resp.Body)
						assert.Equal(t, gone, err)
						assert.Equal(t, canceled+100*time.Millisecond, time.Since(start))
						assert.Len(t, text, int((canceled+100*time.Millisecond)/drips))
						_, err = resp.Body.Read(make([]byte, 1))
						assert.Equal(t, gone, err)
						_, closes := b.counts()
						assert.Equal(t, 1, closes)
						assert.NoError(t, resp.Body.Close())
					})
				})
			}
		}
	}
}

func TestABodyThatEndsOrFailsSoonAfterTheContextIsNotClosed(t *testing.T) {
	for _, want := range []error{io.EOF, errors.New("stream reset")} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			b := body(strings.Repeat("x", 26), want) // fails 80 ms after the context has ended
			b.drips = 40 * time.Millisecond
			resp := response(b, -1)
			bounded.Peek(ctx, resp, time.Minute)
			text, err := io.ReadAll(iotest.OneByteReader(resp.Body))
			assert.Len(t, text, 26)
			if want == io.EOF {
				assert.NoError(t, err)
			} else {
				assert.Equal(t, want, err)
			}
			time.Sleep(time.Minute)
			_, err = resp.Body.Read(make([]byte, 1))
			assert.Equal(t, want, err)
			_, closes := b.counts()
			assert.Zero(t, closes, "the caller closes the body")
		})
	}
}

func TestTheCallerMayReadAndCloseABodyWhileTheEndOfTheContextClosesIt(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			b := body(strings.Repeat("x", 10000), io.EOF)
			b.drips = 40 * time.Millisecond
			resp := response(b, -1)
			bounded.Peek(ctx, resp, time.Minute)
			time.AfterFunc(after, func() { assert.NoError(t, resp.Body.Close()) })
			_, err := io.ReadAll(resp.Body)
			assert.Error(t, err)
			time.Sleep(time.Minute)
			_, closes := b.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

// An unclean body has an error for the caller when it is closed, such as a wrong checksum.
type unclean struct {
	io.Reader
	err error
}

func (u unclean) Close() error { return u.err }

func TestClosingAPeekedBodyReturnsTheErrorOfTheOriginal(t *testing.T) {
	for _, inflated := range []bool{false, true} {
		want := errors.New("checksum mismatch")
		resp := response(unclean{strings.NewReader("text"), want}, 4)
		resp.Uncompressed = inflated
		bounded.Peek(t.Context(), resp, time.Minute)
		bounded.Peek(t.Context(), resp, time.Minute)
		assert.Equal(t, want, resp.Body.Close())
	}
}

// A trailing body adds a trailer to its response when Read meets the end, as net/http does.
type trailing struct {
	*source
	resp *http.Response
}

func (b trailing) Read(p []byte) (int, error) {
	n, err := b.source.Read(p)
	if err == io.EOF {
		if b.resp.Trailer == nil {
			b.resp.Trailer = http.Header{}
		}
		b.resp.Trailer["X-Sum"] = []string{"1"}
	}
	return n, err
}

// The documentation of http.Response says that only a Read may change the Trailer, but
// reading ahead may go on after Peek has returned.
func TestTrailersArriveDuringTheReadersOwnReadOfTheEnd(t *testing.T) {
	const late, inTime = 2500 * time.Millisecond, 10 * time.Second
	for name, declared := range map[string]http.Header{"declared": {"X-Sum": nil}, "undeclared": nil} {
		for _, peeks := range [][]time.Duration{{late}, {late - 2*time.Second, late}, {late, late}, {inTime}} {
			for _, layers := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", peeks, " ", layers), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := body("ab", io.EOF) // the end arrives after 3 s
						b.drips = time.Second
						sent := response(nil, -1)
						sent.Body, sent.Trailer = trailing{b, sent}, declared
						if declared != nil {
							sent.Trailer = declared.Clone()
						}
						resp := sent
						for _, d := range peeks {
							bounded.Peek(t.Context(), resp, d)
							if layers {
								resp = bounded.Own(resp)
							}
						}
						resp = bounded.Own(resp)
						want := http.Header{"X-Sum": {"1"}}
						if peeks[0] == inTime {
							assert.Same(t, sent, resp)
							assert.Equal(t, want, resp.Trailer)
						} else {
							assert.NotSame(t, sent, resp)
							for range 10 {
								assert.Equal(t, declared, resp.Trailer)
								time.Sleep(time.Second)
							}
						}
						assert.Equal(t, 500, resp.StatusCode)
						text, err := io.ReadAll(resp.Body)
						require.NoError(t, err)
						assert.Equal(t, "ab", string(text))
						assert.Equal(t, want, resp.Trailer)
					})
				})
			}
		}
	}
}

func TestOwnReturnsAResponseThatWasNotReadAheadItself(t *testing.T) {
	resp := response(body("text", io.EOF), 4)
	assert.Same(t, resp, bounded.Own(resp))
	assert.Nil(t, bounded.Own(nil))
	bounded.Peek(t.Context(), resp, time.Minute)
	changed := *resp // a RoundTripper in between may have changed it
	assert.Same(t, &changed, bounded.Own(&changed))
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

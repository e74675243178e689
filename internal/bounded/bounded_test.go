package bounded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/bounded"
)

// A source is the body of a response. After its text, Read returns err or, if err is nil,
// waits until the source is closed.
type source struct {
	text  io.Reader
	err   error
	drips time.Duration // how long each byte takes to arrive; 0: all bytes arrive at once

	mu     sync.Mutex
	read   int
	closes int
	closed chan struct{}
}

func body(text string, err error) *source {
	return &source{text: strings.NewReader(text), err: err, closed: make(chan struct{})}
}

func (s *source) Read(p []byte) (int, error) {
	if s.drips > 0 {
		p = p[:min(len(p), 1)]
		select {
		case <-time.After(s.drips):
		case <-s.closed:
			return 0, errClosed
		}
	}
	n, err := s.text.Read(p)
	s.mu.Lock()
	s.read += n
	s.mu.Unlock()
	if err != io.EOF {
		return n, err
	}
	if s.err != nil {
		return 0, s.err
	}
	<-s.closed
	return 0, errClosed
}

var errClosed = errors.New("read after close")

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closes++; s.closes == 1 {
		close(s.closed)
	}
	return nil
}

func (s *source) counts() (read, closes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read, s.closes
}

// endless is the text of a body that never ends and never waits.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// idle is the text of a body whose Read returns neither data nor an error.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// stuck is a body whose Read and Close wait until the test closes the channel.
type stuck chan struct{}

func (s stuck) Read([]byte) (int, error) { <-s; return 0, io.EOF }
func (s stuck) Close() error             { <-s; return nil }

func response(b io.ReadCloser, length int64) *http.Response {
	return &http.Response{StatusCode: 500, Body: b, ContentLength: length}
}

func TestTimeIsHalfTheTimeLeftButAtMostFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assert.Equal(t, 5*time.Second, bounded.Time(t.Context()))
		for left, want := range map[time.Duration]time.Duration{
			time.Minute: 5 * time.Second, 10 * time.Second: 5 * time.Second, 4 * time.Second: 2 * time.Second, -time.Second: -500 * time.Millisecond,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			assert.Equal(t, want, bounded.Time(ctx), "wrong time limit with %v left until the deadline", left)
			cancel()
		}
	})
}

// Each body is read in three ways: as a body that is kept, as one that a Drain discards,
// and as one that net/http inflates.
func TestReadingStopsAtTheEndOfTheBodyAtTheTimeLimitOrWithTheContext(t *testing.T) {
	long := strings.Repeat("x", 5<<10) // longer than the part of a discarded body that is kept
	for name, tt := range map[string]struct {
		body      func() *source
		length    int64 // the announced length
		cancel    time.Duration
		want      string
		truncated bool
		takes     time.Duration
	}{
		"a body that ends":                   {func() *source { return body("text", io.EOF) }, 4, 0, "text", false, 0},
		"a body of unknown length that ends": {func() *source { return body("text", io.EOF) }, -1, 0, "text", false, 0},
		"an empty body":                      {func() *source { return body("", io.EOF) }, 0, 0, "", false, 0},
		"a body shorter than announced":      {func() *source { return body("text", io.ErrUnexpectedEOF) }, 7, 0, "text", true, 0},
		"a short body announced as 1 GiB":    {func() *source { return body("text", io.ErrUnexpectedEOF) }, 1 << 30, 0, "text", true, 0},
		"a body that breaks off":             {func() *source { return body(long, errors.New("reset")) }, -1, 0, long, true, 0},
		"a body that stalls":                 {func() *source { return body("text", nil) }, -1, 0, "text", true, 3 * time.Second},
		"a body that stalls at once":         {func() *source { return body("", nil) }, -1, 0, "", true, 3 * time.Second},
		"a slow body": {func() *source {
			s := body("text", io.EOF)
			s.drips = 2 * time.Second
			return s
		}, -1, 0, "t", true, 3 * time.Second},
		"a body that stalls until the context is canceled":       {func() *source { return body("text", nil) }, -1, 2 * time.Second, "text", true, 2 * time.Second},
		"a complete body, with a context canceled an hour later": {func() *source { return body("text", io.EOF) }, 4, time.Hour, "text", false, 0},
		"a body whose Read returns neither data nor error": {func() *source {
			s := body("", nil)
			s.text = io.MultiReader(strings.NewReader("text"), idle{})
			return s
		}, -1, 0, "text", true, 0},
	} {
		for way, read := range map[string]func(context.Context, *http.Response) (string, bool){
			"kept": func(ctx context.Context, resp *http.Response) (string, bool) {
				data, truncated, _ := bounded.ReadAndClose(ctx, resp, bounded.Max, 3*time.Second)
				return string(data), truncated
			},
			"discarded": func(ctx context.Context, resp *http.Response) (string, bool) {
				d := bounded.NewDrain()
				defer d.Release()
				data, truncated, stuck := d.ReadAndClose(ctx, resp, 3*time.Second)
				assert.False(t, stuck)
				return string(data), truncated
			},
			"inflated": func(ctx context.Context, resp *http.Response) (string, bool) {
				resp.Uncompressed = true
				data, truncated, _ := bounded.ReadAndClose(ctx, resp, bounded.Max, 3*time.Second)
				return string(data), truncated
			},
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if tt.cancel > 0 {
						time.AfterFunc(tt.cancel, cancel)
					}
					b, start, want := tt.body(), time.Now(), tt.want
					if way == "discarded" {
						want = want[:min(len(want), bounded.Kept)]
					}
					data, truncated := read(ctx, response(b, tt.length))
					assert.Equal(t, tt.takes, time.Since(start))
					assert.Equal(t, want, data)
					assert.Equal(t, tt.truncated, truncated)
					_, closes := b.counts()
					assert.Equal(t, 1, closes)
				})
			})
		}
	}
}

func TestOnly64KiBOfAnEndlessBodyIsRead(t *testing.T) {
	for _, keep := range []int{bounded.Max, bounded.Kept} {
		b := body("", nil)
		b.text = endless{}
		data, truncated, _ := bounded.ReadAndClose(t.Context(), response(b, -1), keep, time.Minute)
		assert.Len(t, data, keep)
		assert.True(t, truncated)
		read, closes := b.counts()
		assert.Equal(t, bounded.Max, read)
		assert.Equal(t, 1, closes)
	}
}

func TestABodyAnnouncedAsLongerThan64KiBIsNotReadToReuseItsConnection(t *testing.T) {
	b := body("", nil)
	b.text = endless{}
	d := bounded.NewDrain()
	defer d.Release()
	data, truncated, _ := d.ReadAndClose(t.Context(), response(b, bounded.Max+1), time.Minute)
	assert.Len(t, data, bounded.Kept)
	assert.True(t, truncated)
	read, _ := b.counts()
	assert.Equal(t, bounded.Kept, read)
}

func TestReadingStopsIfReadReturnsNeitherDataNorError(t *testing.T) {
	for _, n := range []int{0, 100, bounded.Kept, bounded.Kept + 10} {
		b := body("", nil)
		b.text = io.MultiReader(strings.NewReader(strings.Repeat("x", n)), idle{})
		bounded.NewDrain().ReadAndClose(t.Context(), response(b, -1), time.Minute)
		assert.Equal(t, 1, b.closes, "a body of %d bytes that does not end", n)
	}
}

// A slowlyClosed body is closed only after an hour.
type slowlyClosed struct{ io.Reader }

func (slowlyClosed) Close() error { time.Sleep(time.Hour); return nil }

// Over HTTP/2, closing a body may have to wait for the connection.
func TestABodyThatTakesLongToCloseDelaysNoCallOverHTTP2(t *testing.T) {
	for major, want := range map[int]time.Duration{1: time.Hour, 2: 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			resp := &http.Response{ProtoMajor: major, Body: slowlyClosed{strings.NewReader("x")}}
			bounded.NewDrain().ReadAndClose(t.Context(), resp, time.Second)
			assert.Equal(t, want, time.Since(start))
			start = time.Now()
			bounded.Close(&http.Response{ProtoMajor: major, Body: slowlyClosed{strings.NewReader("x")}})
			assert.Equal(t, want, time.Since(start))
			time.Sleep(2 * time.Hour)
		})
	}
}

func TestReadingNoBodyReturnsNothing(t *testing.T) {
	data, truncated, _ := bounded.ReadAndClose(t.Context(), response(http.NoBody, 0), bounded.Max, time.Second)
	assert.Empty(t, data)
	assert.False(t, truncated)
	d := bounded.NewDrain()
	defer d.Release()
	data, truncated, stuck := d.ReadAndClose(t.Context(), response(http.NoBody, 0), time.Second)
	assert.Empty(t, data)
	assert.False(t, truncated)
	assert.False(t, stuck)
}

// A body that net/http inflates may be impossible to close while it is read.
func TestAnInflatedBodyThatCannotBeClosedIsReportedAsStuck(t *testing.T) {
	for in, takes := range map[time.Duration]time.Duration{
		time.Second:            1100 * time.Millisecond,
		100 * time.Millisecond: 150 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			b, start := make(stuck), time.Now()
			resp := response(b, -1)
			resp.Uncompressed = true
			d := bounded.NewDrain()
			defer d.Release()
			data, truncated, stuck := d.ReadAndClose(t.Context(), resp, in)
			assert.Equal(t, takes, time.Since(start))
			assert.Empty(t, data)
			assert.True(t, truncated)
			assert.True(t, stuck)
			close(b)
		})
	}
}

// If a timer fires just as the body ends, its function may run late. That function must
// not close the body of the next call.
func TestADrainThatATimerMayStillUseIsNotReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := func(in time.Duration) (string, bool) {
			b := body("x", io.EOF)
			b.drips = time.Second // the byte arrives after one second, the end of the body after two
			d := bounded.NewDrain()
			defer d.Release()
			data, truncated, _ := d.ReadAndClose(t.Context(), response(b, -1), in)
			return string(data), truncated
		}
		for range 1000 {
			read(2 * time.Second)
			data, truncated := read(time.Minute)
			assert.Equal(t, "x", data)
			assert.False(t, truncated)
		}
	})
}

func TestReadAndCloseReportsABodyOfExactly64KiBAsComplete(t *testing.T) {
	b := body(strings.Repeat("x", bounded.Max), io.EOF)
	data, truncated, _ := bounded.ReadAndClose(t.Context(), response(b, -1), bounded.Max, time.Second)
	assert.Len(t, data, bounded.Max)
	assert.False(t, truncated)
}

// A panic in another goroutine would end the process.
func TestAPanicInReadReachesTheCallerAndTheBodyIsClosed(t *testing.T) {
	for _, inflated := range []bool{false, true} {
		for name, read := range reads {
			t.Run(fmt.Sprint(name, ", inflated ", inflated), func(t *testing.T) {
				b := body("", nil)
				b.text = readerFunc(func([]byte) (int, error) { panic("no") })
				resp := response(b, -1)
				resp.Uncompressed = inflated
				assert.PanicsWithValue(t, "no", func() { read(t.Context(), resp, time.Second) })
				if name == "Peek" {
					assert.NoError(t, resp.Body.Close())
				}
				_, closes := b.counts()
				assert.Equal(t, 1, closes)
			})
		}
	}
}

func TestAPanicInCloseReachesTheCaller(t *testing.T) {
	for _, inflated := range []bool{false, true} {
		for name, read := range reads {
			for when, text := range map[string]io.Reader{
				"after the end of the body": strings.NewReader("text"),
				"when the time is over":     nil,
			} {
				t.Run(fmt.Sprint(name, ", inflated ", inflated, ", ", when), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := &unclosable{text: text, closed: make(chan struct{})}
						resp := response(b, -1)
						resp.Uncompressed = inflated
						assert.PanicsWithValue(t, "no", func() {
							read(t.Context(), resp, time.Second)
							resp.Body.Close() // after Peek, the caller closes the body
						})
					})
				})
			}
		}
	}
}

func TestAPanicAfterTheReaderHasGivenUpDoesNotEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, read := range reads {
			if name == "Peek" {
				ctx, cancel := context.WithCancel(t.Context())
				b := &unclosable{closed: make(chan struct{})}
				read(ctx, response(b, -1), time.Second)
				cancel() // closes the body, because it is still being read
				time.Sleep(time.Second)
				continue
			}
			b := make(stuck)
			resp := response(panicking{b}, -1)
			resp.Uncompressed = true
			read(t.Context(), resp, time.Second)
			close(b)
			synctest.Wait()
		}
	})
}

// reads are the ways to read a body.
var reads = map[string]func(context.Context, *http.Response, time.Duration){
	"ReadAndClose": func(ctx context.Context, resp *http.Response, d time.Duration) {
		bounded.ReadAndClose(ctx, resp, bounded.Max, d)
	},
	"Drain": func(ctx context.Context, resp *http.Response, d time.Duration) {
		drain := bounded.NewDrain()
		defer drain.Release()
		drain.ReadAndClose(ctx, resp, d)
	},
	"Peek": func(ctx context.Context, resp *http.Response, d time.Duration) { bounded.Peek(ctx, resp, d) },
}

// unclosable is a body whose Close panics. If it has no text, Read waits for Close.
type unclosable struct {
	text   io.Reader
	closed chan struct{}
	once   sync.Once
}

func (u *unclosable) Read(p []byte) (int, error) {
	if u.text != nil {
		return u.text.Read(p)
	}
	<-u.closed
	return 0, errClosed
}

func (u *unclosable) Close() error {
	u.once.Do(func() { close(u.closed) })
	panic("no")
}

// panicking is a body whose Read waits until the channel is closed, and then panics.
type panicking struct{ stuck }

func (p panicking) Read([]byte) (int, error) { <-p.stuck; panic("no") }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAgainEndsWithAnErrorIfTheDataWasTruncated(t *testing.T) {
	whole, err := io.ReadAll(bounded.Again([]byte("text"), false))
	assert.Equal(t, "text", string(whole))
	assert.NoError(t, err)
	part, err := io.ReadAll(bounded.Again([]byte("te"), true))
	assert.Equal(t, "te", string(part))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestABodyInMemoryIsReadEvenIfTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, inflated := range []bool{false, true} {
		for range 50 {
			resp := response(body("text", io.EOF), 4)
			resp.Uncompressed = inflated
			data, truncated, _ := bounded.ReadAndClose(ctx, resp, bounded.Max, -time.Second)
			require.Equal(t, "text", string(data))
			require.False(t, truncated)
		}
	}
}

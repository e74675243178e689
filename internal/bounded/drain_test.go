package bounded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// body is a response body that counts the calls to Close. If stall is set, a Read after
// the end of the data waits until the body is closed.
type body struct {
	io.Reader
	stall  bool
	closed chan struct{}
	closes atomic.Int32
}

func newBody(r io.Reader, stall bool) *body {
	return &body{Reader: r, stall: stall, closed: make(chan struct{})}
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n == 0 && err == io.EOF && b.stall {
		<-b.closed
		return 0, errors.New("read after close")
	}
	if b.stall && err == io.EOF {
		err = nil
	}
	return n, err
}

func (b *body) Close() error {
	if b.closes.Add(1) == 1 {
		close(b.closed)
	}
	return nil
}

func response(b io.ReadCloser, length int64) *http.Response {
	return &http.Response{Body: b, ContentLength: length}
}

func TestReadAndCloseIsBoundedInSizeAndTime(t *testing.T) {
	for name, tt := range map[string]struct {
		text      string
		stall     bool
		length    int64
		keep      int
		want      int
		truncated bool
		took      time.Duration
	}{
		"a short body":                             {"text", false, 4, Max, 4, false, 0},
		"a body of unknown length":                 {"text", false, -1, Max, 4, false, 0},
		"a body longer than Max":                   {strings.Repeat("x", Max+1), false, -1, Max, Max, true, 0},
		"a body of exactly Max bytes":              {strings.Repeat("x", Max), false, Max, Max, Max, false, 0},
		"a body longer than the part that is kept": {strings.Repeat("x", Kept+1), false, -1, Kept, Kept, true, 0},
		"a body announced as longer than Max":      {strings.Repeat("x", Kept), false, 10 * Max, Kept, Kept, true, 0},
		"a body that stalls":                       {"begin", true, -1, Max, 5, true, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBody(strings.NewReader(tt.text), tt.stall)
				start := time.Now()
				data, truncated, _ := ReadAndClose(t.Context(), response(b, tt.length), tt.keep, time.Second)
				assert.Equal(t, tt.took, time.Since(start))
				assert.Len(t, data, tt.want)
				assert.Equal(t, tt.truncated, truncated)
				assert.EqualValues(t, 1, b.closes.Load())
			})
		})
	}
}

func TestADrainIsBusyIfATimerMayStillUseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDrain()
		data, truncated, stuck := d.ReadAndClose(t.Context(), response(newBody(strings.NewReader("text"), false), 4), time.Second)
		assert.Equal(t, "text", string(data))
		assert.False(t, truncated)
		assert.False(t, stuck)
		assert.False(t, d.busy)
		d.Release()

		d = NewDrain()
		_, truncated, _ = d.ReadAndClose(t.Context(), response(newBody(strings.NewReader("begin"), true), -1), time.Second)
		assert.True(t, truncated)
		assert.True(t, d.busy, "the Drain must be busy: the timer has fired, and its function may still be running")
		d.Release()

		d = NewDrain()
		assert.Panics(t, func() {
			_, _, _ = d.ReadAndClose(t.Context(), response(newBody(panics{}, false), -1), time.Second)
		})
		assert.True(t, d.busy, "the Drain must be busy: the timer was not stopped and may still fire")
	})
}

func TestDrainCanTimeTheWaitAfterAnyBody(t *testing.T) {
	for name, read := range map[string]func(t *testing.T, d *Drain){
		"none":       func(*testing.T, *Drain) {},
		"empty body": func(t *testing.T, d *Drain) { d.ReadAndClose(t.Context(), response(http.NoBody, 0), time.Second) },
		"short body": func(t *testing.T, d *Drain) {
			d.ReadAndClose(t.Context(), response(newBody(strings.NewReader("text"), false), 4), time.Second)
		},
		"body that stalls": func(t *testing.T, d *Drain) {
			d.ReadAndClose(t.Context(), response(newBody(strings.NewReader("text"), true), -1), time.Second)
		},
		"body that net/http inflates": func(t *testing.T, d *Drain) {
			resp := response(newBody(strings.NewReader("text"), false), -1)
			resp.Uncompressed = true
			d.ReadAndClose(t.Context(), resp, time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 3 { // the Drain may be the same one again
					d := NewDrain()
					read(t, d)
					start := time.Now()
					<-d.After(time.Minute)
					assert.Equal(t, time.Minute, time.Since(start))
					d.Release()

					d = NewDrain()
					read(t, d)
					ended := d.After(time.Minute)
					time.Sleep(time.Minute - 1)
					d.Release()
					time.Sleep(time.Hour)
					select {
					case <-ended:
						t.Error("the channel must stay open, because the Drain was released before the end of the wait")
					default:
					}
				}
			})
		})
	}
}

func TestDrainIsNotUsedAgainWhileItsTimerMayStillEndAWait(t *testing.T) {
	for range 2000 {
		d := NewDrain()
		d.After(time.Nanosecond)
		d.Release()
		d = NewDrain()
		ended := d.After(time.Hour)
		select {
		case <-ended:
			t.Fatal("an earlier wait's timer ended this wait")
		case <-time.After(10 * time.Microsecond):
		}
		d.Release()
	}
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("read") }

func TestConcurrentDrainsDoNotMixUpTheirBodies(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			want := strings.Repeat(string(rune('a'+i%26)), 200)
			for range 200 {
				d := NewDrain()
				ctx, cancel := context.WithCancel(context.Background())
				b := newBody(iotest.HalfReader(strings.NewReader(want)), false)
				data, _, _ := d.ReadAndClose(ctx, response(b, -1), time.Millisecond)
				cancel()
				if string(data) != want[:len(data)] || b.closes.Load() != 1 {
					t.Errorf("wrong body read, or body not closed exactly once: read %q, closed %d times", data, b.closes.Load())
				}
				d.Release()
			}
		})
	}
	wg.Wait()
}

func TestPeekPutsTheWholeBodyBack(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		stall bool
		err   error
	}{
		"a short body":           {"text", false, nil},
		"a long body":            {strings.Repeat("0123456789", Max/5), false, nil},
		"an empty body":          {"", false, nil},
		"a body that breaks off": {"begin", false, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			var r io.Reader = strings.NewReader(tt.text)
			if tt.err != nil {
				r = io.MultiReader(r, iotest.ErrReader(tt.err))
			}
			b := newBody(r, tt.stall)
			resp := response(b, -1)
			data, truncated := Peek(t.Context(), resp, time.Minute)
			assert.Equal(t, tt.text[:min(len(tt.text), Max)], string(data[:min(len(data), Max)]))
			assert.Equal(t, len(tt.text) > Max || tt.err != nil, truncated)
			rest, err := io.ReadAll(iotest.OneByteReader(resp.Body))
			assert.ErrorIs(t, err, tt.err)
			assert.True(t, bytes.Equal([]byte(tt.text), rest))
			require.NoError(t, resp.Body.Close())
			assert.EqualValues(t, 1, b.closes.Load())
		})
	}
}

func TestPeekEndsAtTheContextsDeadlineAndClosesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := newBody(strings.NewReader("begin"), true)
		resp := response(b, -1)
		data, truncated := Peek(ctx, resp, time.Minute)
		assert.Equal(t, "begin", string(data))
		assert.True(t, truncated)
		rest, err := io.ReadAll(resp.Body)
		assert.Equal(t, "begin", string(rest))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		assert.EqualValues(t, 1, b.closes.Load())
		resp.Body.Close()
		assert.EqualValues(t, 1, b.closes.Load())
	})
}

func TestTimeIsHalfTheTimeUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assert.Equal(t, MaxTime, Time(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		assert.Equal(t, 2*time.Second, Time(ctx))
	})
}

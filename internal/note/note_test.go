package note_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/note"
)

type key struct{}

func TestANoteBelongsToOneResponse(t *testing.T) {
	ctx := context.WithValue(t.Context(), key{}, "kept")
	req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3", nil)
	require.NoError(t, err)
	resp := &http.Response{Request: req}
	note.Put(resp, 7)
	assert.Equal(t, 7, note.Get[int](resp))
	assert.Empty(t, note.Get[string](resp), "Get must return the zero value if the stored value has another type")
	assert.Equal(t, "kept", resp.Request.Context().Value(key{}))
	assert.Equal(t, req.URL, resp.Request.URL)

	another := &http.Response{Request: resp.Request}
	assert.Zero(t, note.Get[int](another), "Get must not return another response's value")
	note.Put(resp, 8)
	assert.Equal(t, 8, note.Get[int](resp))
}

func TestAResponseWithoutARequestCanHaveANote(t *testing.T) {
	assert.Zero(t, note.Get[int](nil))
	resp := new(http.Response)
	assert.Zero(t, note.Get[int](resp))
	assert.Equal(t, "GET", note.Request(resp).Method)
	note.Put(resp, 7)
	assert.Equal(t, 7, note.Get[int](resp))
	assert.Empty(t, note.Request(resp).URL.String())
}

package bounded

import (
	"bytes"
	"io"
)

// Again returns a body that consists of what was read of another one, and ends with
// an error if that was truncated.
func Again(data []byte, truncated bool) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(data), end(truncated)))
}

// end is the end of a body, which may have come too early.
type end bool

func (early end) Read([]byte) (int, error) {
	if early {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, io.EOF
}

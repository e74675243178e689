package bounded

import (
	"bytes"
	"io"
)

// Again returns a body that yields data that has already been read. If the data was
// truncated, the body ends with an error.
func Again(data []byte, truncated bool) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(data), end(truncated)))
}

// An end is the reader that follows the data of a body. It is true if the data was
// truncated.
type end bool

func (early end) Read([]byte) (int, error) {
	if early {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, io.EOF
}

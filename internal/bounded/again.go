package bounded

import (
	"bytes"
	"io"
)

// Again returns a body with the data that was read from another one. It ends with an
// error if that data was truncated.
func Again(data []byte, truncated bool) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(data), end(truncated)))
}

// end is the end of a body that may have been truncated.
type end bool

func (early end) Read([]byte) (int, error) {
	if early {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, io.EOF
}

package answer

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
)

// maxInflated is the maximum number of bytes that a compressed body is inflated to, so
// that a zip bomb costs no more than any other body.
const maxInflated = 64 << 10

// inflate returns the beginning of a body, decompressed. It returns the body itself if
// there is no Content-Encoding, or if the encoding is unknown or wrong. net/http inflates
// a body only if it has asked for gzip itself: a caller that sets Accept-Encoding
// receives the bytes as they were sent.
func inflate(encoding string, body []byte) []byte {
	encoding = strings.TrimSpace(encoding)
	if encoding == "" || len(body) == 0 {
		return body
	}
	var r io.Reader
	var err error
	switch {
	case strings.EqualFold(encoding, "gzip"), strings.EqualFold(encoding, "x-gzip"):
		r, err = gzip.NewReader(bytes.NewReader(body))
	case strings.EqualFold(encoding, "deflate"):
		r, err = zlib.NewReader(bytes.NewReader(body))
		if err != nil && body[0] != '{' { // some servers omit the zlib header
			r, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		return body
	}
	if err != nil {
		return body
	}
	inflated, _ := io.ReadAll(io.LimitReader(r, maxInflated)) // a truncated body still yields its message
	return inflated
}

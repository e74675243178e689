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
// that a zip bomb cannot exhaust memory.
const maxInflated = 64 << 10

// maxCodings is the maximum number of encodings that inflate undoes.
const maxCodings = 3

// inflate decompresses a body, or the beginning of a long one. At an encoding that is
// unknown or wrong, or after maxCodings encodings, it returns the body as decoded so far.
// net/http inflates a body only if it has asked for gzip itself: a caller that sets
// Accept-Encoding receives the bytes as they were sent.
func inflate(contentEncoding []string, body []byte) []byte {
	codings := strings.Join(contentEncoding, ",")
	for n := 0; codings != "" && n < maxCodings; n++ {
		last := codings[strings.LastIndexByte(codings, ',')+1:] // the encoding that was applied last
		codings = strings.TrimSuffix(codings[:len(codings)-len(last)], ",")
		if last = strings.TrimSpace(last); last == "" || strings.EqualFold(last, "identity") {
			continue
		}
		inflated, ok := inflateOne(last, body)
		if !ok {
			return body
		}
		body = inflated
	}
	return body
}

// inflateOne undoes one encoding.
func inflateOne(encoding string, body []byte) (inflated []byte, ok bool) {
	if len(body) == 0 {
		return nil, false
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
		return nil, false
	}
	if err != nil {
		return nil, false
	}
	inflated, _ = io.ReadAll(io.LimitReader(r, maxInflated)) // a truncated body still yields its message
	return inflated, true
}

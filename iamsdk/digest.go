package iamsdk

import (
	"crypto/sha256"
	"fmt"
)

// A digest is a hash of parts of a request, used to compare requests. It does not reveal
// the secrets among these parts if it is printed.
type digest [sha256.Size]byte

func digestOf(parts ...string) (d digest) {
	h := sha256.New()
	fmt.Fprintf(h, "%q", parts)
	h.Sum(d[:0])
	return d
}

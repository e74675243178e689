package iamsdk

import (
	"crypto/sha256"
	"fmt"
)

// A digest stands for what a request says, to compare it with another one. Secrets
// in it can neither be read nor printed.
type digest [sha256.Size]byte

func digestOf(parts ...string) (d digest) {
	h := sha256.New()
	fmt.Fprintf(h, "%q", parts)
	h.Sum(d[:0])
	return d
}

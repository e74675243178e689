// Package interrupt tells the examples that they were interrupted, so that they can clean
// up.
package interrupt

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// Err is the error of a program that was interrupted.
var Err = errors.New("interrupted")

// Context returns a context that ends when the user presses Ctrl-C, or when the process
// receives a SIGTERM, which service managers and containers send to end a program. After
// a call to stop, either one ends the program at once.
func Context() (ctx context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

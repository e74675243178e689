// Package resend1 is the interface between the Transport and iamotel. Its path contains a
// number, because users can combine iamotel with a newer root module.
package resend1

import (
	"net/http"

	"github.com/iamhttp/iamhttp/internal/resend"
)

// Count returns how many times a Transport above has sent req before. Unlike
// iamhttp.ResendCount, it returns 0 if req was made with the context of an attempt but has
// another method or URL.
func Count(req *http.Request) int { return resend.For(req).Count }

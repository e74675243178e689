package iamtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Answer is a response from the service, or a [Fault] instead of all or part of
// one. The zero value is a 200 without a body. An Answer is also an [http.Handler], so you
// can register it in a ServeMux or call its ServeHTTP from your own handler.
type Answer struct {
	Status int         // 100 to 999; zero means 200 or, with a Fault, no response
	Header http.Header // a missing Content-Length, Date or Content-Type is added, as by net/http's server; JSON gets application/json
	Body   string
	Delay  time.Duration // the wait before anything is sent
	Fault  Fault
}

// A Fault replaces an [Answer], or the end of one. If the Answer's Status is 0, nothing
// arrives. Otherwise the Answer's Header and Body arrive before the fault, so the client
// does not notice the fault if it can tell that the response is complete, for example
// from a Content-Length. The zero value means no fault.
type Fault uint8

// The faults of an [Answer].
const (
	Stall Fault = iota + 1 // the server sends nothing more, and waits until the client disconnects
	Reset                  // the connection breaks: over plain TCP and in memory, the client gets a reset or, within the body, an unexpected EOF
)

// With returns a copy of the Answer with the header field set to value.
func (a Answer) With(name, value string) Answer {
	if a.Header = a.Header.Clone(); a.Header == nil {
		a.Header = http.Header{}
	}
	a.Header.Set(name, value)
	return a
}

// ServeHTTP waits until the whole request has arrived, and for Delay, then sends the Answer.
func (a Answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// With HTTP/1.1, net/http does not notice that a client has disconnected until the
	// whole body of the request has been read.
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-time.After(a.Delay):
	}
	if a.Status != 0 || a.Fault == 0 {
		maps.Copy(w.Header(), a.Header.Clone())
		if w.Header().Get("Content-Type") == "" && json.Valid([]byte(a.Body)) {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
		_, _ = io.WriteString(w, a.Body)
		if a.Fault == 0 {
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
	if a.Fault == Stall {
		<-r.Context().Done()
	}
	if a.Status == 0 {
		// Do this only if nothing was sent: a reset could make the client lose data.
		reset(w)
	}
	panic(http.ErrAbortHandler)
}

// reset breaks w's connection if w can be hijacked, which is not possible with HTTP/2 or
// in memory.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// These request IDs have the format that the services use; their values do not matter.
const (
	keystoneID = "req-0c43521d-00ed-4f5b-a31b-798560349fcd"
	gatewayID  = "e2b44851-0991-411b-a6b7-9ac8518a4cd9"
)

// Keystone returns a failure in the format of Keystone and of OTC's /v3:
//
//	{"error":{"code":404,"message":"…","title":"Not Found"}}
//
// The header contains a request ID in X-Openstack-Request-Id and, for a 401, the field
// WWW-Authenticate.
func Keystone(status int, message string) Answer {
	type detail struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Title   string `json:"title"`
	}
	a := failure(status, map[string]detail{"error": {status, message, http.StatusText(status)}})
	a = a.With("X-Openstack-Request-Id", keystoneID).With("Vary", "X-Auth-Token")
	if status == http.StatusUnauthorized {
		a = a.With("WWW-Authenticate", `Keystone uri="http://iam.example/v3"`)
	}
	return a
}

// IAM returns a failure in the format that Open Telekom Cloud and Huawei Cloud use in the
// APIs that are not part of Keystone, such as /v3.0/OS-USER:
//
//	{"error_msg":"…","error_code":"IAM.0002"}
func IAM(status int, code, message string) Answer {
	return failure(status, refusal{Message: message, Code: code}).With("X-Request-Id", gatewayID)
}

// Gateway returns a failure in the format of the API gateway in front of an IAM
// service. The gateway's codes look like "APIG.0101":
//
//	{"error_msg":"…","error_code":"APIG.0101","request_id":"…"}
func Gateway(status int, code, message string) Answer {
	return failure(status, refusal{message, code, gatewayID}).With("X-Request-Id", gatewayID)
}

// Throttled returns the gateway's 429 with a Retry-After in seconds, rounded up. If
// retryAfter is not positive, the response has no Retry-After, because many gateways do
// not send one. The response does not state a limit, so without Retry-After, the client's
// Backoff decides when to retry.
func Throttled(retryAfter time.Duration) Answer {
	a := Gateway(http.StatusTooManyRequests, "APIG.0308", "The throttling threshold has been reached")
	if retryAfter > 0 {
		a = a.With("Retry-After", seconds(retryAfter))
	}
	return a
}

// ThrottledGateway returns the API gateway's 429. The response has no Retry-After and
// states the limit only in its message: "policy user over ratelimit,limit:200,time:5
// minute". per is rounded up to seconds.
func ThrottledGateway(limit int, per time.Duration) Answer {
	n, unit := amount(per)
	return Gateway(http.StatusTooManyRequests, "APIG.0308", fmt.Sprintf(
		"The throttling threshold has been reached: policy user over ratelimit,limit:%d,time:%d %s", limit, n, unit))
}

// ThrottledSAP returns the 429 of the middleware that SAP puts in front of OpenStack
// services. The time until requests are accepted again is in X-Retry-After and
// X-RateLimit-Retry-After, not in Retry-After. The body is a JSON string that itself
// contains JSON. per and reset are rounded up to seconds.
func ThrottledSAP(limit int, per, reset time.Duration) Answer {
	n, unit := amount(per)
	window := unit[:1]
	if n > 1 {
		window = strconv.FormatInt(n, 10) + window
	}
	a := Answer{
		Status: http.StatusTooManyRequests,
		Body:   `"{\"error\": {\"message\": \"Too Many Requests\", \"status\": \"429 Too Many Requests\"}}"`,
	}
	a = a.With("X-RateLimit-Limit", fmt.Sprintf("%dr/%s", limit, window)).With("X-RateLimit-Remaining", "0")
	return a.With("X-Retry-After", seconds(reset)).With("X-RateLimit-Retry-After", seconds(reset))
}

// ThrottledEnvoy returns the 429 of an Envoy proxy. The response has no body and no
// Retry-After; the time until requests are accepted again is in x-ratelimit-reset. per
// and reset are rounded up to seconds.
func ThrottledEnvoy(limit int, per, reset time.Duration) Answer {
	a := Answer{Status: http.StatusTooManyRequests}.With("X-Envoy-Ratelimited", "true")
	a = a.With("X-Ratelimit-Limit", fmt.Sprintf("%d, %[1]d;w=%s", limit, seconds(per)))
	return a.With("X-Ratelimit-Remaining", "0").With("X-Ratelimit-Reset", seconds(reset))
}

// ThrottledIETF returns a 429 with the header fields of the IETF's draft on rate limits
// (draft-ietf-httpapi-ratelimit-headers), RateLimit and RateLimit-Policy. The response has
// no body and no Retry-After. per and reset are rounded up to seconds.
func ThrottledIETF(limit int, per, reset time.Duration) Answer {
	a := Answer{Status: http.StatusTooManyRequests}
	a = a.With("RateLimit", `"default";r=0;t=`+seconds(reset))
	return a.With("RateLimit-Policy", fmt.Sprintf(`"default";q=%d;w=%s`, limit, seconds(per)))
}

// seconds returns d in seconds, rounded up.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(roundUp(d)/time.Second), 10) }

func roundUp(d time.Duration) time.Duration {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	return d
}

// amount rounds d up to seconds and returns it in the largest unit that divides it.
func amount(d time.Duration) (n int64, unit string) {
	d = roundUp(d)
	for _, u := range [...]struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d%u.length == 0 && d != 0 {
			return int64(d / u.length), u.name
		}
	}
	return int64(d / time.Second), "second"
}

// Page returns nginx's HTML error page for a status. The page contains no details of the
// failure. A 408 also closes the connection.
func Page(status int) Answer {
	title := http.StatusText(status)
	switch status { // nginx has its own titles for these statuses
	case http.StatusUnauthorized:
		title = "Authorization Required"
	case http.StatusMethodNotAllowed:
		title = "Not Allowed"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		title = strings.Replace(title, "Timeout", "Time-out", 1)
	case http.StatusRequestURITooLong:
		title = "Request-URI Too Large"
	case http.StatusServiceUnavailable:
		title = "Service Temporarily Unavailable"
	}
	head := fmt.Sprint(status, " ", title)
	a := Answer{Status: status, Body: strings.Join([]string{
		"<html>", "<head><title>" + head + "</title></head>", "<body>",
		"<center><h1>" + head + "</h1></center>", "<hr><center>nginx</center>", "</body>", "</html>", "",
	}, "\r\n")}
	a = a.With("Content-Type", "text/html").With("Server", "nginx")
	if status == http.StatusRequestTimeout {
		a = a.With("Connection", "close") // RFC 9110 §15.5.9
	}
	return a
}

// refusal is the body of a failure from the gateway, or from an API that is not part of
// Keystone.
type refusal struct {
	Message   string `json:"error_msg"`
	Code      string `json:"error_code"`
	RequestID string `json:"request_id,omitempty"`
}

func failure(status int, body any) Answer {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // cannot happen: body contains only strings and numbers
	}
	return Answer{Status: status, Body: string(b)}
}

package iamotel

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/iamhttp/iamhttp"
)

// These are the values of error.type for failures without a response, except those from
// semconv.ErrorType.
var (
	refusedByGate = semconv.ErrorTypeKey.String("gate")
	canceled      = semconv.ErrorTypeKey.String("canceled")
	timedOut      = semconv.ErrorTypeKey.String("timeout")
)

// errorType returns the attribute error.type, which is the class of err. There must be
// few classes, because each class creates a time series. ctx is the request's context;
// once ctx has ended, net/http may return its cause, which can be any error.
//
// If err is or wraps a nil pointer, its methods may panic; its class is then "_OTHER".
func errorType(ctx context.Context, err error) (class attribute.KeyValue) {
	defer func() {
		if recover() != nil {
			class = semconv.ErrorTypeOther
		}
	}()
	var status *iamhttp.StatusError
	var timeout net.Error
	deadline, limited := ctx.Deadline()
	switch {
	case errors.As(err, &status):
		return semconv.ErrorTypeKey.String(strconv.Itoa(int(status.Code)))
	case errors.As(err, new(*iamhttp.NotSentError)):
		return refusedByGate
	case errors.Is(err, context.Canceled):
		return canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return timedOut
	case limited && !time.Now().Before(deadline):
		return timedOut // ctx.Err may still be nil if http.Client's Timeout has closed Request.Cancel
	case ctx.Err() != nil:
		return canceled
	}
	return semconv.ErrorType(first(err))
}

// first returns err or, if err joins several errors, the first of them. The Transport
// joins Base's error and the reason why the retry was not sent; the type of the joined
// error is meaningless.
func first(err error) error {
	for {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) == 0 {
			return err
		}
		err = joined.Unwrap()[0]
	}
}

// refusalType returns the attribute error.type for an error from a gate's Wait: either
// the context ended, or the gate refused the request.
func refusalType(err error) attribute.KeyValue {
	switch {
	case errors.Is(err, context.Canceled):
		return canceled
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut
	}
	return refusedByGate
}

var knownMethods = []string{
	"QUERY",
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace,
}

// method returns the attribute http.request.method and, for a method that the conventions
// do not list, http.request.method_original.
func method(req *http.Request) []attribute.KeyValue {
	m := cmp.Or(req.Method, http.MethodGet)
	if slices.Contains(knownMethods, m) {
		return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(m)}
	}
	return []attribute.KeyValue{semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(m)}
}

func spanName(method attribute.KeyValue) string {
	if method == semconv.HTTPRequestMethodOther {
		return "HTTP"
	}
	return method.Value.AsString()
}

// server returns the attributes server.address and, if the port is known, server.port.
func server(req *http.Request) []attribute.KeyValue {
	u := url.URL{Host: cmp.Or(req.URL.Host, req.Host)}
	attrs := []attribute.KeyValue{semconv.ServerAddress(u.Hostname())}
	port, err := strconv.Atoi(u.Port())
	switch {
	case err == nil:
		attrs = append(attrs, semconv.ServerPort(port))
	case req.URL.Scheme == "https":
		attrs = append(attrs, semconv.ServerPort(443))
	case req.URL.Scheme == "http":
		attrs = append(attrs, semconv.ServerPort(80))
	}
	return attrs
}

// address returns u without user info, query and fragment, which may contain secrets.
// StatusError.URL leaves out the same parts.
func address(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// version returns the value of network.protocol.version, such as "1.1" or "2".
func version(resp *http.Response) string {
	v := strconv.Itoa(resp.ProtoMajor)
	if resp.ProtoMajor < 2 {
		v += "." + strconv.Itoa(resp.ProtoMinor)
	}
	return v
}

package peers

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	resty "github.com/go-resty/resty/v2"
	"github.com/hashicorp/go-retryablehttp"
	restyv3 "resty.dev/v3"
)

func hashicorpClient(base http.RoundTripper, o Options) http.RoundTripper {
	c := hashicorps(base, o)
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if o.Content == nil {
			r, err := retryablehttp.FromRequest(req)
			if err != nil {
				return nil, err
			}
			return c.Do(r)
		}
		var body any
		data, stream, err := o.content(req)
		switch {
		case err != nil:
			return nil, err
		case data != nil:
			body = data
		case stream != nil:
			body = stream
		}
		r, err := retryablehttp.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), body)
		if err != nil {
			return nil, err
		}
		r.Header, r.ContentLength = req.Header, req.ContentLength // retryablehttp does not know a file's length
		return c.Do(r)
	})
}

// restyAttempts is the number of attempts in the examples in resty's documentation. By
// default, neither version of resty retries.
const restyAttempts = 4

// quiet is a logger that discards everything.
type quiet struct{}

func (quiet) Errorf(string, ...any) {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Debugf(string, ...any) {}

func resty2(base http.RoundTripper, o Options) http.RoundTripper {
	c := resty.New().SetTransport(base).SetDoNotParseResponse(true).SetLogger(quiet{}).
		SetRetryCount(o.attempts(restyAttempts) - 1).
		AddRetryCondition(func(r *resty.Response, err error) bool {
			return err == nil && r.StatusCode() == http.StatusTooManyRequests
		})
	if d, ok := o.delay(); ok {
		c.SetRetryWaitTime(d).SetRetryMaxWaitTime(d)
	}
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		r := c.R().SetContext(req.Context())
		r.Header = req.Header.Clone() // because resty adds headers
		data, stream, err := o.content(req)
		switch {
		case err != nil:
			return nil, err
		case data != nil:
			r.SetBody(data) // resty would send a reader once, and an empty body after that
		case stream != nil:
			r.SetBody(stream)
		}
		resp, err := r.Execute(req.Method, req.URL.String())
		if err != nil {
			return nil, err
		}
		return resp.RawResponse, nil
	})
}

func resty3(base http.RoundTripper, o Options) http.RoundTripper {
	c := restyv3.New().SetTransport(base).SetResponseDoNotParse(true).SetLogger(quiet{}).
		SetRetryCount(o.attempts(restyAttempts) - 1).SetRetryAllowNonIdempotent(true).
		AddRetryConditions(restyv3.RetryConditionStatusTooManyRequests)
	if d, ok := o.delay(); ok {
		c.SetRetryWaitTime(d).SetRetryMaxWaitTime(d)
	}
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		r := c.R().SetContext(req.Context())
		r.Header = req.Header.Clone() // because resty adds headers
		data, stream, err := o.content(req)
		switch {
		case err != nil:
			return nil, err
		case o.Content != nil && data != nil:
			r.SetBody(bytes.NewReader(data)) // resty would copy a byte slice
		case data != nil:
			r.SetBody(data) // resty would rewind a reader that the previous attempt may still be reading
		case stream != nil:
			r.SetBody(stream)
		}
		resp, err := r.Execute(req.Method, req.URL.String())
		if err != nil {
			return nil, err
		}
		return resp.RawResponse, nil
	})
}

func azure(base http.RoundTripper, o Options) http.RoundTripper {
	options := &policy.ClientOptions{Transport: &http.Client{Transport: base}}
	if o.Attempts != 0 {
		options.Retry.MaxRetries = int32(o.Attempts - 1)
	}
	if d, ok := o.delay(); ok {
		// Zero would select the default, and with a negative number azcore would wait for
		// MaxRetryDelay.
		options.Retry.RetryDelay, options.Retry.MaxRetryDelay = max(d, 1), max(d, 1)
	}
	pipeline := azruntime.NewPipeline("bench", "v0.0.0", azruntime.PipelineOptions{}, options)
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		r, err := azruntime.NewRequest(req.Context(), req.Method, req.URL.String())
		if err != nil {
			return nil, err
		}
		maps.Copy(r.Raw().Header, req.Header)
		data, stream, err := o.content(req)
		file, seeks := stream.(io.ReadSeekCloser)
		switch {
		case err != nil:
		case data != nil:
			err = r.SetBody(readSeekCloser{bytes.NewReader(data)}, "application/octet-stream")
		case seeks:
			err = r.SetBody(file, "application/octet-stream")
		case stream != nil:
			err = errors.New("azcore only accepts seekable bodies")
		}
		if err != nil {
			return nil, err
		}
		azruntime.SkipBodyDownload(r) // otherwise azcore would read every response body to the end
		return pipeline.Do(r)
	})
}

type readSeekCloser struct{ io.ReadSeeker }

func (readSeekCloser) Close() error { return nil }

func azureFailure(resp *http.Response) error {
	defer resp.Body.Close()
	return azruntime.NewResponseError(resp)
}

package iamtest

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// This file checks signatures as a gateway does. It shares no code with package aksk,
// which creates signatures, so that each package's tests also check the other package.

const (
	signatureLife   = 15 * time.Minute
	signatureLayout = "20060102T150405Z"
)

// refusal returns the response with which the gateway refuses the request, or false if the
// gateway accepts the request.
func (s *Server) refusal(r *http.Request, body string, now time.Time) (Answer, bool) {
	refuse := func(why string) (Answer, bool) {
		return Gateway(http.StatusUnauthorized, "APIG.0301", "Incorrect IAM authentication information: "+why), true
	}
	header := map[string][]string{}
	for k, v := range r.Header {
		header[strings.ToLower(k)] = append(header[strings.ToLower(k)], v...)
	}
	header["host"] = []string{r.Host}
	if len(header["content-length"]) == 0 {
		header["content-length"] = []string{fmt.Sprint(len(body))}
	}
	switch n := len(header["authorization"]); {
	case n > 1:
		return refuse("verify aksk signature fail")
	case n == 0 && len(header["x-auth-token"]) == 0:
		return refuse("x-auth-token not found")
	case n == 0:
		return Answer{}, false
	}
	algorithm, rest, _ := strings.Cut(header["authorization"][0], " ")
	fields := map[string]string{}
	for f := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[k] = v
	}
	date := strings.Join(header["x-sdk-date"], ",")
	at, err := time.Parse(signatureLayout, date)
	if err != nil {
		return refuse("verify aksk signature fail")
	}
	if d := now.Sub(at); d < -signatureLife || d > signatureLife {
		return refuse("signature expired, signature time:" + date + ",server time:" + now.UTC().Format(signatureLayout))
	}
	accessKey, credential := fields["Access"], strings.Split(fields["Credential"], "/")
	if accessKey == "" {
		accessKey = credential[0]
	}
	secretKey, known := s.Keys(accessKey, strings.Join(header["x-security-token"], ","))
	if !known {
		return refuse("Get secretKey failed,ak:******,err:ak not exist")
	}
	c := checked{r: r, header: header, names: strings.Split(fields["SignedHeaders"], ";"), date: date, body: body}
	for _, want := range c.signatures(algorithm, accessKey, secretKey, credential) {
		if hmac.Equal([]byte(want), []byte(fields["Signature"])) {
			return Answer{}, false
		}
	}
	return refuse("verify aksk signature fail")
}

// A checked is a request whose signature is checked.
type checked struct {
	r      *http.Request
	header map[string][]string
	names  []string
	date   string
	body   string
}

// signatures returns all valid signatures of the request; a scoped POST with a query but
// without a body has two. It returns nil if the algorithm is unknown, or if the
// credential's scope does not fit the algorithm or the date.
func (c checked) signatures(algorithm, accessKey, secretKey string, credential []string) []string {
	scoped := len(credential) == 5 && credential[4] == "sdk_request"
	requests := []string{c.canonical(scoped, c.query(scoped), c.body)}
	if scoped && strings.EqualFold(c.r.Method, http.MethodPost) && c.body == "" {
		requests = append(requests, c.canonical(scoped, "", c.r.URL.Query().Encode()))
	}
	scope, key := strings.Join(credential[1:], "/"), []byte(secretKey)
	switch {
	case algorithm == "SDK-HMAC-SHA256" && len(credential) == 1: // the form without a scope
	case algorithm == "SDK-HMAC-SHA256" && scoped:
		key = []byte("SDK" + secretKey)
		for _, part := range credential[1:] {
			key = sign(key, part)
		}
	case algorithm == "V11-HMAC-SHA256" && len(credential) == 4:
		derived, err := hkdf.Key(sha256.New, []byte(secretKey), []byte(accessKey), scope, 32)
		if err != nil {
			return nil
		}
		key = []byte(hex.EncodeToString(derived))
	default:
		return nil
	}
	if len(credential) > 1 && credential[1] != c.date[:8] {
		return nil
	}
	right := []string{}
	for _, canonical := range requests {
		parts := []string{algorithm, c.date, scope, digest(canonical)}
		if scope == "" {
			parts = slices.Delete(parts, 2, 3)
		}
		right = append(right, hex.EncodeToString(sign(key, strings.Join(parts, "\n"))))
	}
	return right
}

func (c checked) canonical(scoped bool, query, body string) string {
	path := make([]string, 0, 8)
	for segment := range strings.SplitSeq(strings.TrimPrefix(c.r.URL.Path, "/"), "/") {
		path = append(path, encode(segment))
	}
	uri := "/" + strings.Join(path, "/")
	if !strings.HasSuffix(uri, "/") {
		uri += "/"
	}
	lines := []string{c.r.Method, uri, query}
	for _, name := range c.names {
		values := slices.Clone(c.header[name])
		if scoped && len(values) > 1 {
			values = values[:1]
		}
		for i, v := range values {
			if values[i] = strings.TrimSpace(v); scoped {
				values[i] = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" \t\n\f\r", r) }), " ")
			}
		}
		slices.Sort(values)
		for _, v := range values {
			lines = append(lines, name+":"+v)
		}
	}
	payload := digest(body)
	if stated := c.header["x-sdk-content-sha256"]; len(stated) > 0 {
		payload = strings.TrimSpace(stated[0])
	}
	return strings.Join(append(lines, "", strings.Join(c.names, ";"), payload), "\n")
}

// query returns the canonical query.
func (c checked) query(scoped bool) string {
	all := url.Values{}
	for part := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(part, "=")
		if part != "" {
			k = decoded(k)
			all[k] = append(all[k], decoded(v))
		}
	}
	if scoped {
		all = c.r.URL.Query()
	}
	keys := make([]string, 0, len(all))
	for k, values := range all {
		keys = append(keys, k)
		if scoped {
			all[k] = values[:1]
		} else {
			slices.Sort(values)
		}
	}
	slices.Sort(keys)
	if scoped {
		slices.SortStableFunc(keys, func(a, b string) int {
			a, b = encode(a), encode(b)
			if lower := strings.Compare(strings.ToLower(a), strings.ToLower(b)); lower != 0 {
				return lower
			}
			return strings.Compare(a, b)
		})
	}
	var pairs []string
	for _, k := range keys {
		for _, v := range all[k] {
			pairs = append(pairs, encode(k)+"="+encode(v))
		}
	}
	return strings.Join(pairs, "&")
}

func decoded(s string) string {
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

// encode escapes everything except the unreserved characters of RFC 3986.
func encode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

package answer

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// A Reason is the iamhttp.Reason with the same number.
type Reason uint8

// The reasons, in the same order as in iamhttp.
const (
	Unknown Reason = iota
	AccountLocked
	CredentialRejected
	CredentialExpired
	TokenExpired
	SignatureInvalid
	ClockSkew
	PermissionMissing
	AlreadyExists
	APINotFound
	QuotaExceeded
	Throttled
	RegionFailover
)

// String returns the reason in a few words, or "" if r is not one of the constants.
func (r Reason) String() string {
	switch r {
	case Unknown:
		return "unknown reason"
	case AccountLocked:
		return "account locked"
	case CredentialRejected:
		return "credential rejected"
	case CredentialExpired:
		return "credential expired"
	case TokenExpired:
		return "token expired"
	case SignatureInvalid:
		return "signature invalid"
	case ClockSkew:
		return "clock skew"
	case PermissionMissing:
		return "permission missing"
	case AlreadyExists:
		return "already exists"
	case APINotFound:
		return "API not found"
	case QuotaExceeded:
		return "quota exceeded"
	case Throttled:
		return "throttled"
	case RegionFailover:
		return "region failover"
	}
	return ""
}

// A Meaning says what one of the service's own codes means.
type Meaning struct {
	Code   string // a gateway may write APIGW. instead of APIG.
	Status int    // the status that the documentation gives for the code
	Reason Reason
	Says   string // what has happened
	Texts  []Text // for a code with several meanings; the first text that matches the message decides
}

// Meanings are the documented codes that a program can act on, sorted by code. They come
// from the IAM service (its page "Error Codes"; codes of four digits or with the prefix
// IAM.) and from the gateway in front of it. The many codes that merely say which
// parameter is wrong are left out, because only a person can act on those.
//
// To add a code, add a row here and one in reason_test.go in the root. Then run in the
// root:
//
//	go test -run StatusCodes -update .
var Meanings = [...]Meaning{
	{"1103", 400, CredentialRejected, "the password is wrong", nil},
	{"1109", 400, AlreadyExists, "the user name is taken", nil}, // not IAM.1109, which is about a project
	{"1110", 400, AlreadyExists, "the email address is taken", nil},
	{"1111", 400, AlreadyExists, "the mobile number is taken", nil},
	{"1113", 400, AlreadyExists, "this combination of xuser_id and xuser_type is taken", nil},
	{"1115", 400, QuotaExceeded, "no more users can be created", nil},

	{"APIG.0101", 404, APINotFound, "no API has this method and path; the resource may still exist", nil},
	{"APIG.0301", 401, TokenExpired, "the token, the signature or the access key is wrong", gatewayTexts},
	{"APIG.0302", 403, PermissionMissing, "the user is not allowed to call this API", nil},
	{"APIG.0303", 401, Unknown, "the signature, the clock or the app's key is wrong", gatewayTexts},
	{"APIG.0304", 403, PermissionMissing, "the app is not allowed to call this API", nil},
	{"APIG.0306", 403, PermissionMissing, "access is denied", nil},
	{"APIG.0307", 401, TokenExpired, "the token must be renewed", nil},
	{"APIG.0308", 429, Throttled, "the throttling threshold was reached", nil},
	{"APIG.0314", 403, AccountLocked, "the brute-force threshold of an authorizer was reached", nil},
	{"APIG.0402", 403, PermissionMissing, "access from this address is not allowed", nil},
	{"APIG.0405", 403, PermissionMissing, "access from this address is not allowed", nil},
	{"APIG.0501", 405, QuotaExceeded, "the app has used up its quota of calls", nil},
	{"APIG.0802", 403, PermissionMissing, "access is not allowed in this region", nil},
	{"APIG.1001", 401, CredentialExpired, "the refresh token has expired", nil},
	{"APIG.1002", 401, TokenExpired, "the access token has expired", nil},
	{"APIG.1003", 401, CredentialRejected, "the refresh token belongs to another app", nil},
	{"APIG.1004", 401, CredentialRejected, "the app does not exist", nil},
	{"APIG.1009", 400, CredentialRejected, "the app's key or secret is wrong", nil},
	{"APIG.2201", 400, CredentialRejected, "the app's key or secret is wrong", nil},
	{"APIG.2202", 400, CredentialRejected, "the refresh token is invalid", nil},
	{"APIG.2203", 400, TokenExpired, "the access token is invalid", nil},

	{"IAM.0002", 403, PermissionMissing, "the user is not allowed to do this", nil},
	{"IAM.0003", 403, PermissionMissing, "the policy does not allow the request", nil},
	{"IAM.0005", 409, AlreadyExists, "the object to be stored already exists", nil},
	{"IAM.0012", 429, Throttled, "the throttling threshold was reached", nil},
	{"IAM.0020", 410, RegionFailover, "another region is taking over", nil},
	{"IAM.0061", 401, AccountLocked, "the account is locked", nil},
	{"IAM.0062", 401, CredentialRejected, "the password is wrong", nil},
	{"IAM.0064", 401, PermissionMissing, "the token does not allow the request", nil},
	{"IAM.0066", 401, TokenExpired, "the token has expired", nil},
	{"IAM.0067", 401, TokenExpired, "the token is invalid", nil},
	{"IAM.0080", 403, CredentialRejected, "the user of the access key is disabled", nil},
	{"IAM.0081", 403, PermissionMissing, "the user is only allowed to use the console", nil},
	{"IAM.0082", 403, CredentialRejected, "the user is disabled", nil},
	{"IAM.0083", 403, PermissionMissing, "access is not allowed in this private region", nil},
	{"IAM.1104", 400, CredentialRejected, "the access key is blacklisted", nil},
	{"IAM.1105", 400, CredentialExpired, "the access key has expired", nil},
	{"IAM.1106", 400, CredentialRejected, "the access key does not belong to any user", nil},
	{"IAM.1107", 400, CredentialRejected, "the access key is inactive", nil},
	{"IAM.1108", 400, CredentialExpired, "the security token has expired", nil},
}

// A Text is a pattern for messages. A message matches if it contains at least one
// alternative from each line of Words. Bars separate alternatives; a star stands for the
// rest of a word, and a space for any white space and punctuation.
type Text struct {
	Words   []string
	Reason  Reason
	Example string
}

// The texts, and close variants of them, come from the gateway's documentation and from
// Keystone. The first match wins.
var (
	gatewayTexts = []Text{
		{[]string{"reach*|exceed*", "limit", "ak|access key|fail*"}, AccountLocked, "AK access failed to reach the limit,forbidden"},
		{[]string{"locked|lockout"}, AccountLocked, "ak ****** is locked"},
		{[]string{"security token|securitytoken"}, CredentialExpired, "security token has expired"},
		{[]string{"signature", "expire*"}, ClockSkew, "signature expired, signature time:20230527T000431Z,server time:20230527T020608Z"},
		{[]string{"signature time|server time|signing time|server s time|request time|client time|timestamp|clock|skew*"}, ClockSkew, "request time and server time differ too much"},
		{[]string{"x sdk date", "expire*|differ*|too old|in the future"}, ClockSkew, "x-sdk-date is too old"},
		{[]string{"ak|access key|ak sk|aksk", "not exist*|not found"}, CredentialRejected, "Get secretKey failed,ak:******,err:ak not exist"},
		{[]string{"x auth token"}, TokenExpired, "x-auth-token not found"},
		{[]string{"signature*|signing|signedheaders|signed headers|aksk|ak sk|body hash|authorization"}, SignatureInvalid, "verify aksk signature fail"},
		{[]string{"ak|access key|accesskey", "expire*"}, CredentialExpired, "ak ****** has expired"},
		{[]string{"ak|access key|accesskey|secretkey|secret key|appkey|app key|appcode|app code"}, CredentialRejected, "app not found, appkey ******"},
		{[]string{"app|user|account", "not exist*|not found|disabled|frozen"}, CredentialRejected, "user ****** is disabled"},
		{[]string{"token"}, TokenExpired, "decrypt token fail"},
	}
	lockTexts = []Text{
		{[]string{"locked|lockout", "account|user|password*|login*|logon*|attempt*|ak|access key"}, AccountLocked, "The account is locked."},
		{[]string{"too many", "fail*|wrong|incorrect|invalid|unsuccessful", "password*|login*|logon*|sign in*|auth*|attempt*|credential*"}, AccountLocked, "Too many failed login attempts."},
		{[]string{"too many", "password*|login attempts|logon attempts|sign in attempts|authentication attempts"}, AccountLocked, "Too many login attempts."},
	}
	loginTexts = slices.Concat(lockTexts, []Text{
		{[]string{"password|application credential|security token|securitytoken|refresh token|access key", "expire*"}, CredentialExpired, "The password is expired and needs to be changed for user: 01b5b2fb."},
		{[]string{"account|user", "disabled"}, CredentialRejected, "The account is disabled for user: 01b5b2fb."},
		{[]string{"authenticating with application credential"}, CredentialRejected, "Error authenticating with application credential: Could not find Application Credential: 01b5b2fb."},
		{[]string{"token", "expire*"}, TokenExpired, "The token has expired."},
		{[]string{"auth token", "invalid"}, TokenExpired, "X-Auth-Token is invalid"},
	})
	conflictTexts = []Text{
		{[]string{"attempting to store|duplicate entry|already exist*|already been used|already taken"}, AlreadyExists, "Conflict occurred attempting to store user - Duplicate entry found with name bob."},
	}
)

// Uncoded returns the patterns for messages in responses with this status. They apply if
// the response has no code, or if its code has no reason of its own.
func Uncoded(status int) []Text {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return loginTexts
	case http.StatusConflict:
		return conflictTexts
	case http.StatusLocked, http.StatusTooManyRequests:
		return lockTexts
	}
	return nil
}

// ReasonOf returns the reason for a failure with this status, code and message, or
// Unknown if none of them indicates a reason.
func ReasonOf(status int, code, message string) Reason {
	m := meaningOf(code)
	switch {
	case len(m.Texts) > 0:
		return cmp.Or(told(message, m.Texts), m.Reason)
	case m.Reason == Unknown, m.Reason == Throttled: // a locked account may be reported with such a code
		if r := told(message, Uncoded(status)); r != Unknown {
			return r
		}
		if status == http.StatusTooManyRequests {
			return Throttled
		}
	}
	return m.Reason
}

// meaningOf returns the Meaning of a code, which may be in upper or lower case and have
// either prefix. It returns the zero Meaning if the code is not in Meanings.
func meaningOf(code string) Meaning {
	var room [12]byte // longer than any code
	if code == "" || len(code) > len(room) {
		return Meaning{}
	}
	key := room[:0]
	for i := range len(code) {
		c := code[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if i == len("APIG") && c == 'W' && string(key) == "APIG" {
			continue
		}
		key = append(key, c)
	}
	low, high := 0, len(Meanings)
	for low < high { // slices.BinarySearchFunc would move room to the heap
		if mid := (low + high) / 2; Meanings[mid].Code < string(key) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(Meanings) || Meanings[low].Code != string(key) {
		return Meaning{}
	}
	return Meanings[low]
}

// told returns the reason of the first text that matches a message, or Unknown.
func told(message string, texts []Text) Reason {
	message = message[:min(len(message), 512)] // a long message gives its reason at the beginning
	// The gateway's message begins with the kind of authentication and ends with the
	// request that it received. Ignore both.
	if i := index(message, "authentication information"); i >= 0 {
		message = message[i+len("authentication information"):]
	}
	if i := index(message, "canonicalrequest*"); i >= 0 {
		message = message[:i]
	}
	for i := range texts {
		if fits(message, texts[i].Words) {
			return texts[i].Reason
		}
	}
	return Unknown
}

func fits(message string, words []string) bool {
	for _, line := range words {
		found := false
		for more := true; more && !found; {
			var phrase string
			phrase, line, more = strings.Cut(line, "|")
			found = index(message, phrase) >= 0
		}
		if !found {
			return false
		}
	}
	return true
}

// index returns the position of the phrase in text, ignoring case and matching only at
// word boundaries, or -1 if text does not contain the phrase.
func index(text, phrase string) int {
	phrase, stem := strings.CutSuffix(phrase, "*")
	for i := range len(text) {
		if lower(text[i]) != phrase[0] || i > 0 && inWord(text[i-1]) {
			continue
		}
		if n := match(text[i:], phrase); n > 0 && (stem || i+n == len(text) || !inWord(text[i+n])) {
			return i
		}
	}
	return -1
}

// match returns how many bytes at the beginning of text the phrase matches, or 0 if text
// does not begin with the phrase.
func match(text, phrase string) (n int) {
	for _, want := range []byte(phrase) {
		if want == ' ' {
			if n == len(text) || inWord(text[n]) {
				return 0
			}
			for n < len(text) && !inWord(text[n]) {
				n++
			}
			continue
		}
		if n == len(text) || lower(text[n]) != want {
			return 0
		}
		n++
	}
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func inWord(c byte) bool {
	c = lower(c)
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c >= 0x80
}

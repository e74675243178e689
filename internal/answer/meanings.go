package answer

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
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
// IAM.) and from the gateway in front of it. The many codes that only name a wrong
// parameter are left out, because only a person can act on those.
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
	{"APIG.0305", 401, Unknown, "the token, the signature or a key is wrong", gatewayTexts},
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

// The texts, and close variants of them, come from the gateway's documentation, from
// Keystone, and from reports of users. The first match wins. match.go explains the
// syntax. If in doubt, give a message no reason, because a program would act on a wrong
// one. The worst mistake is TokenExpired for something that a new token does not cure,
// because programs then log in again and again.
var (
	lockTexts = []Text{
		{[]string{"account|user|ak|access key|login|logon|you|credential|credentials|password ~ locked|lockout"}, AccountLocked, "The account is locked."},
		{[]string{"^locked|lockout", "password*|login*|logon*|sign in*|failed attempt*"}, AccountLocked, "Locked: wrong password."},
		{[]string{"account|user|login|logon ~ locked|blocked|banned|suspended|disabled|frozen", "wrong password*|incorrect password*|invalid password*|password error*|password fail*|failed login*|failed logon*|failed sign*|failed attempt*|login fail*|login error*|login attempts|authentication fail*|failed auth*"}, AccountLocked, "Account temporarily disabled: 5 failed logins."},
		{[]string{"ip|address|client|access ~ locked|blocked|banned|suspended|disabled|frozen", "wrong password*|incorrect password*|invalid password*|password error*|password fail*|failed login*|failed logon*|failed sign*|failed attempt*|login fail*|login error*|login attempts"}, AccountLocked, "Access blocked: wrong password."}, // a firewall blocks a failed authentication, too
		{[]string{"password*|passwd|passcode*", "incorrect*|wrong*|invalid*|fail*|bad|unsuccessful*|mistyped", "!too many times|too many tries|too many attempts|so many times", "-request*|call*|api|rate|lock|locks|lockout|be locked|be blocked|be disabled"}, AccountLocked, "Password entered incorrectly too many times."},
		{[]string{"credential*|login*|logon*|sign in|signin|authentication", "incorrect*|wrong*|invalid*|fail*|bad|unsuccessful*|mistyped", "!too many tries|too many attempts|failed too often|failed too many times|wrong too many times|incorrect too many times|invalid too many times|wrong credential* too many times|incorrect credential* too many times|invalid credential* too many times", "-request*|call*|api|rate|lock|locks|lockout|be locked|be blocked|be disabled|failed: too many times|failed, too many times"}, AccountLocked, "The login failed too many times."},
		{[]string{"!too many > password attempt*|login attempt*|logon attempt*|sign in attempt*|signin attempt*|authentication attempt*|password error*|" +
			"login failure*|password failure*|logon failure*|authentication failure*|failed attempt*|failed login*|failed logon*|failed sign in*|" +
			"failed signin*|failed password*|failed auth*|wrong password*|incorrect password*|invalid password*|bad password*|wrong credential*|" +
			"invalid credential*|incorrect credential*|unsuccessful login*|invalid login*|unsuccessful logon*|unsuccessful attempt*"}, AccountLocked, "Too many failed login attempts."},
		{[]string{"!exceed*|reached", "failed attempt*|login attempt*|logon attempt*|sign in attempt*|authentication attempt*|password attempt*|failed login*|authentication failure*|login failure*|password error*"}, AccountLocked, "The maximum number of failed logins has been reached."},
	}
	expiryTexts = []Text{
		{[]string{"password|credential|credentials|security token|securitytoken|sts token|federation token|personal access token|refresh token|access key ~ expired"}, CredentialExpired, "The password is expired and needs to be changed for user: 01b5b2fb."},
		{[]string{"!expired > password|credential|credentials|security token|sts token|federation token|personal access token|refresh token|access key"}, CredentialExpired, "expired password"},
	}
	tokenTexts = []Text{
		{[]string{"token|session|jwt ~ expired|revoked"}, TokenExpired, "The token has expired."},
		// A gateway may blame the token or the key although it only failed to have them
		// checked. The failure must be in the same sentence, because a word such as "backend"
		// in another sentence may only say where to get help.
		{[]string{"timeout|time out|timed out|connection refused|connection reset|connection closed|connection fail*|connection error|connect to|connection to|connect fail*|unreachable|unavailable|not available|unable to reach|cannot reach|failed to reach|" +
			"no such host|dns|dial|lookup|i o|eof|broken pipe|upstream|backend|overloaded|busy|internal error|server error|service error|system error|unknown error|unexpected error|bad gateway|is down|deadline exceeded|canceled|too many requests|certificate|tls|network error|" +
			"5xx|500|502|503|504|status 5*|code 5*|http 5*|returned 5*", "-session time*|login time*|idle time*", "token|session|signature*|ak|ak sk|aksk|access key|accesskey|sk|secret key|secretkey|app|app key|appkey|credential|credentials|timestamp"}, Unknown, "failed to verify token: connection to IAM refused"},
		// A new token would have the same faults, or is as early.
		{[]string{"audience*|aud|issuer*|iss|azp|scope|scopes|subject|claim|claims|insufficient permission*|insufficient privilege*|insufficient role* & " +
			"not|no|isn|aren|doesn|don|didn|cannot|must|mismatch*|differ*|wrong|invalid|incorrect|bad|illegal|malformed|missing|lack*|insufficient|requir*|need*|expect*|unexpected|unknown|unsupported|untrusted|disallowed|allowed|denied|fail*|without|outside|exceed*|empty|another", "-exp|expired|expiry|expiration|x subject token|signature for|credential scope|ak|sk|aksk|ak sk|access key|appkey|app key|x sdk*|hmac*"}, Unknown, "Invalid token: audience mismatch"},
		{[]string{"token|jwt|it", "valid|active|usable|used|issued|from the future|not before|nbf|iat & yet|future|not before|not valid before|invalid before|before issued|before it was issued|before it is valid|before nbf|before the nbf|before valid", "-no longer"}, Unknown, "The token is not valid yet."},
		{[]string{"token|session|jwt ~ invalid|not valid|no longer valid|not found"}, TokenExpired, "The token is invalid."},
		{[]string{"!expired|invalid|revoked > token|x auth token|jwt"}, TokenExpired, "Invalid token."},
	}
	gatewayTexts = slices.Concat([]Text{
		{[]string{"!reach*|exceed*", "limit", "ak|access key|access fail*|auth* fail*"}, AccountLocked, "AK access failed to reach the limit,forbidden"},
		{[]string{"ak|access key", "!too many times|too many fail*|too many error*|too many attempt*|" +
			"too many signature fail*|too many signature error*|too many verification fail*|too many verification error*|too many invalid signature*|too many wrong signature*|too many invalid attempt*"}, AccountLocked, "AK access failed too many times"},
		{[]string{"ak|access key ~ forbidden for|blocked for|frozen for"}, AccountLocked, "AK is forbidden for 5 minutes"},
	}, lockTexts, expiryTexts, []Text{
		{[]string{"!signature|signature time > timeout|time out|timed out", "-verif*|validat*|check*|calc*"}, ClockSkew, "The signature has timed out"},
		{[]string{"app|user|account|domain|tenant ~ disabled|deactivated|frozen|suspended|inactive|not active|deleted"}, CredentialRejected, "failed to verify token: the user is disabled"},
		{[]string{"!disabled|deactivated|frozen|suspended|inactive|deleted > app|user|account|domain|tenant"}, CredentialRejected, "disabled user"},
		{[]string{"security token|securitytoken|sts token", "not match*|doesn t match|mismatch*|not belong*|doesn t belong"}, CredentialRejected, "securityToken not match ak"},
		{[]string{"security token|securitytoken|sts token", "!expire*|invalid|not valid|no longer valid|revoked|not found|not exist*"}, CredentialExpired, "security token has expired"},
		{[]string{"^verify aksk signature|verify ak sk signature|verify signature|calc aksk signature|calc ak sk signature|signature verification fail*|signature mismatch*|signature fail*|signature does not match|signature not match*", "token", "-signature of"}, SignatureInvalid, "verify aksk signature fail, token not found"},
		{[]string{"get|getting|query|querying|fetch|fetching|obtain|load|retrieve", "secretkey|secret key|ak|access key|accesskey", "fail*|error|err|unable|cannot|could not", "ak|access key|accesskey|user|credential ~ not exist*|does not exist|doesn t exist|doesn* exist|not found|invalid|not valid|not active|inactive|disabled|frozen|deleted|blacklisted"}, CredentialRejected, "Get secretKey failed,ak:******,err:ak is not active"},
		{[]string{"get|getting|query|querying|fetch|fetching|obtain|load|retrieve", "secretkey|secret key|ak|access key|accesskey", "fail*|error|err|unable|cannot|could not", "!invalid|no such|unknown > ak|access key|accesskey|user|credential"}, CredentialRejected, "Get secretKey failed,ak:******,err:no such ak"},
		{[]string{"get|getting|query|querying|fetch|fetching|obtain|load|retrieve", "secretkey|secret key|ak|access key|accesskey", "fail*|error|err|unable|cannot|could not", "-ak|access key|accesskey ~ expired"}, Unknown, "Get secretKey failed,ak:******,err:IAM is down"},
	}, tokenTexts, []Text{
		{[]string{"token|x auth token > fail*|error|verif*", "!fail* expired|error expired|fail* illegal|error illegal|fail* malformed|error malformed|token is illegal|illegal token|token is malformed|malformed token", "-because|due to|denied|no permission|forbidden|region|get|getting|fetch|obtain|query"}, TokenExpired, "token verify failed, expired"},
		{[]string{"illegal|malformed > token|x auth token", "-token:*|because|due to|denied|no permission|forbidden|region"}, TokenExpired, "illegal token, not allowed"},
		{[]string{"token > expires|signature|timestamp|fail*|error|illegal|incorrect|not match*|mismatch*", causes, "-get|getting|fetch|obtain|query"}, TokenExpired, "decrypt token fail"},
		{[]string{"decrypt*|parse|parsing|verify|validate|timestamp of|signature of|illegal|incorrect|wrong|missing > token|x auth token", causes}, TokenExpired, "failed to verify token"},
		{[]string{"decrypt*|parse|parsing|verify|validate > token|x auth token", "not exist*|not found|expire*|invalid|signature|timestamp|malformed|illegal|mismatch*|check the token*"}, TokenExpired, "decrypt token fail: user not exist"},
		{[]string{"neither", "x auth token"}, TokenExpired, "neither X-Auth-Token nor Authorization"},
		{[]string{"!signature|signature time > expired|expires"}, ClockSkew, "signature expired, signature time:20230527T000431Z,server time:20230527T020608Z"},
		{[]string{"ak|access key|accesskey|ak sk|aksk", "not exist*|doesn t exist|doesn* exist|not found|no such|unknown"}, CredentialRejected, "Get secretKey failed,ak:******,err:ak not exist"},
		{[]string{"ak|access key|accesskey|app key|appkey", "!expired"}, CredentialExpired, "ak ****** has expired"},
		{[]string{"signature time|signing time|sign time|client time|request time|server time|timestamp|server s time|clock|x sdk date|requesttime*", "!expire*|differ*|skew*|exceed*|more than|deviat*|drift*|ahead of|behind|not within|beyond|too old|too new|too far|too late|too early|too large|in the future|in the past|out of range|out of sync|tooskewed|requesttimetooskewed"}, ClockSkew, "request time and server time differ too much"},
		{[]string{"signature*|signing|signedheaders|signed headers|aksk|ak sk|body hash|hmac*|canonical*|x sdk date|x sdk content sha256|in authorization|authorization header|authorization format"}, SignatureInvalid, "verify aksk signature fail"},
		{[]string{"sk|secret key", "invalid|incorrect|wrong|error|mismatch*|not match*|illegal"}, SignatureInvalid, "invalid sk"},
		{[]string{"ak|access key|accesskey|secretkey|secret key|appkey|app key|appcode|app code", "!invalid|illegal|wrong|incorrect|error|fail*|disabled|inactive|frozen|empty|missing|null|mismatch*|blacklist*|deleted|not match*|not valid|not active|not found|not exist*|no such"}, CredentialRejected, "invalid access key"},
		{[]string{"app|user|account|domain|tenant|credential ~ not exist*|not found|does not exist|doesn t exist|doesn* exist|disabled|frozen|suspended|inactive|deleted|invalid"}, CredentialRejected, "app not found, appkey ******"},
		{[]string{"token ~ missing|empty|null|not provided|not exist*|does not exist|doesn t exist|doesn* exist", "-scope*|role*|permission*|claim*|user|project|domain|account|tenant|bucket"}, TokenExpired, "X-Auth-Token is missing"},
		{[]string{"!invalid|incorrect|wrong|bad > credential|credentials|password|passwd"}, CredentialRejected, "invalid credential"},
	})
	// "Invalid authentication credentials" is also said of a token.
	loginTexts = slices.Concat(lockTexts, expiryTexts, []Text{
		{[]string{"account|user ~ disabled|deactivated|suspended|frozen"}, CredentialRejected, "The account is disabled for user: 01b5b2fb."},
		{[]string{"authenticating with application credential"}, CredentialRejected, "Error authenticating with application credential: Could not find Application Credential: 01b5b2fb."},
		{[]string{"password|credentials ~ incorrect|wrong|invalid|not correct", "-authentication credentials ~ invalid"}, CredentialRejected, "The username or password is wrong."},
		{[]string{"!incorrect|wrong|invalid|bad > password|username or password|user name or password|username password"}, CredentialRejected, "Incorrect password."},
		{[]string{"!incorrect|wrong|invalid|bad > credentials", "-invalid authentication credentials"}, CredentialRejected, "Invalid credentials."},
	}, tokenTexts)
	conflictTexts = []Text{
		{[]string{"attempting to store"}, AlreadyExists, "Conflict occurred attempting to store user - Duplicate entry found with name bob."},
		{[]string{"!already exist|already exists|already existed|already taken|already been taken|already registered"}, AlreadyExists, "The user already exists."},
		{[]string{"!duplicate entry|duplicate name|duplicate key|duplicate user*|duplicate email*|duplicated name|duplicated user*|duplicate group name|duplicate project name|duplicate role name|duplicate domain name|duplicate agency name"}, AlreadyExists, "Duplicate name"},
		{[]string{"name|username|email|email address|login|alias|phone number|mobile number ~ already in use|already used|already been used|taken|occupied|already occupied|duplicate|duplicated|not unique|must be unique"}, AlreadyExists, "The user name is already in use."},
		{[]string{"username|user name|email|email address|phone number|mobile number ~ in use"}, AlreadyExists, "The user name is in use."},
		{[]string{"name|username|email|email address|login|alias|phone number|mobile number ~ exists", "-check*|verify|ensure|make sure|confirm|only"}, AlreadyExists, "The email address exists."},
		{[]string{"!with this name exists|with that name exists|with the same name exists|with same name exists|of that name exists|of this name exists|" +
			"exists with same|exists with the same|exists with this|exists with that|exists with name|exists with username|exists with email|same username exists|same email exists|this username exists|this email exists|that username exists|that email exists"}, AlreadyExists, "A user with this name exists."},
	}
)

// causes is a line for texts that do not blame the token if they also state another cause, as
// in "failed to verify token: IAM is in maintenance".
const causes = "-token:*|token,*|fail:*|fail,*|failed:*|failed,*|failure:*|failure,*|error:*|error,*|err:*|because|due to|denied|not allowed|no permission|forbidden|region"

// Uncoded returns the patterns for messages in responses with this status. They apply if
// the response has no code, one that is not in Meanings, or one that means Throttled.
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

// ReasonOf returns the reason that a failure's status, code and message together
// indicate, or Unknown.
func ReasonOf(status int, code, message string) Reason {
	r := reasonOf(status, code, message)
	if r == Unknown && status == http.StatusTooManyRequests {
		return Throttled
	}
	return r
}

func reasonOf(status int, code, message string) Reason {
	m := meaningOf(code)
	if m.Code == "" {
		m.Reason = elsewhere(status, code)
	}
	var texts []Text
	switch {
	case len(m.Texts) > 0:
		message = detail(message)
		if len(message) < 4 && !strings.ContainsFunc(message, notASCII) { // too short to say anything
			return m.Reason
		}
		return told(message, m.Texts)
	case m.Reason == Unknown, m.Reason == Throttled:
		texts = Uncoded(status)
	case m.Reason == TokenExpired: // a new token does not cure a locked account or an expired password
		texts = loginTexts
	case m.Reason == CredentialRejected, m.Reason == CredentialExpired: // the reason may be that the account is locked
		texts = lockTexts
	case m.Reason == PermissionMissing: // such a code may also follow a failed login, so only a clear text counts
		texts = lockTexts[:1]
	}
	return cmp.Or(told(detail(message), texts), m.Reason)
}

// elsewhere returns the reason that a code of other services indicates with this status, or
// Unknown. As with the service's own codes, the message may say more.
func elsewhere(status int, code string) Reason {
	switch {
	case status == http.StatusConflict && strings.EqualFold(code, "uniqueness"): // SCIM (RFC 7644 §3.12)
		return AlreadyExists
	case status == http.StatusUnauthorized && strings.EqualFold(code, "ACCESS_TOKEN_EXPIRED"): // Google
		return TokenExpired
	}
	return Unknown
}

// notASCII reports whether a message with the character r is in a foreign language or, if r
// is U+FFFD, unreadable. Such a message says something, even if it is short.
func notASCII(r rune) bool { return r >= utf8.RuneSelf }

// meaningOf returns the Meaning of a code. Case does not matter, nor whether a gateway's
// code begins with APIG. or APIGW. The zero Meaning means that the code is not in
// Meanings.
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

// detail returns the part of a message that is specific to the failure. A message of the
// gateway may begin with the kind of authentication, and end with the request that the
// gateway has received.
func detail(message string) string {
	message = message[:min(len(message), 512)] // a long message gives its reason at the beginning
	if i := index(message, "authentication information"); i >= 0 {
		message = message[i+len("authentication information"):]
	}
	if i := index(message, "canonicalrequest*"); i >= 0 {
		message = message[:i]
	}
	return strings.Trim(message, " \t\r\n:.,;")
}

package iamhttp

import (
	"strconv"
	"strings"
)

// A Reason is what the service's own error code says beyond the status, where the
// status misleads: a name that is taken and an expired credential are a 400, a
// locked account is a 401 like a wrong password, a region that fails over is a 410.
// It implements error, so that errors.Is(err, iamhttp.ReasonAlreadyExists) and
// errors.As work as they do for a [Code]. It decides no retry.
type Reason uint8

// The reasons, with what each one tells you.
const (
	ReasonUnknown            Reason = iota // no code, or one that calls for no decision of its own
	ReasonAccountLocked                    // wait until it is unlocked; logging in again does not help
	ReasonCredentialRejected               // the password or access key is wrong, disabled or blacklisted: use another
	ReasonCredentialExpired                // the access key or temporary credential is over: get a new one
	ReasonTokenExpired                     // log in again
	ReasonPermissionMissing                // ask for a permission, or for access
	ReasonAlreadyExists                    // what was to be created, or a name it needs, exists
	ReasonQuotaExceeded                    // delete something or raise the quota
	ReasonThrottled                        // come back later; also every 429 whose code is not known
	ReasonRegionFailover                   // the service moves to another region; it is not gone
)

// Error describes the reason in a few words.
func (r Reason) Error() string {
	switch r {
	case ReasonUnknown:
		return "unknown reason"
	case ReasonAccountLocked:
		return "account locked"
	case ReasonCredentialRejected:
		return "credential rejected"
	case ReasonCredentialExpired:
		return "credential expired"
	case ReasonTokenExpired:
		return "token expired"
	case ReasonPermissionMissing:
		return "permission missing"
	case ReasonAlreadyExists:
		return "already exists"
	case ReasonQuotaExceeded:
		return "quota exceeded"
	case ReasonThrottled:
		return "throttled"
	case ReasonRegionFailover:
		return "region failover"
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// reasons are the documented codes of the IAM service (its page "Error Codes";
// four digits or IAM.) and of the gateway in front of it (APIG., written
// APIGW. by some). The many codes that only say which parameter is wrong are
// left out: they call for a person, not for a decision of the program. So is
// APIG.0303, app authentication: the signature or the clock may be wrong there
// as well as the key.
var reasons = map[string]Reason{
	"IAM.0061": ReasonAccountLocked,

	"1103":      ReasonCredentialRejected, // incorrect password, as a 400
	"IAM.0062":  ReasonCredentialRejected, // incorrect password
	"IAM.0080":  ReasonCredentialRejected, // the user of the access key is disabled
	"IAM.0082":  ReasonCredentialRejected, // the user is disabled
	"IAM.1104":  ReasonCredentialRejected, // the access key is blacklisted
	"IAM.1106":  ReasonCredentialRejected, // the access key has no user
	"IAM.1107":  ReasonCredentialRejected, // the access key is inactive
	"APIG.1004": ReasonCredentialRejected, // the app does not exist
	"APIG.1009": ReasonCredentialRejected, // AppKey or AppSecret
	"APIG.2201": ReasonCredentialRejected, // AppKey or SecretKey
	"APIG.2202": ReasonCredentialRejected, // the refresh token is invalid

	"IAM.1105":  ReasonCredentialExpired, // the access key
	"IAM.1108":  ReasonCredentialExpired, // the security token
	"APIG.1001": ReasonCredentialExpired, // the refresh token

	"IAM.0066":  ReasonTokenExpired,
	"IAM.0067":  ReasonTokenExpired, // invalid token
	"APIG.0301": ReasonTokenExpired, // incorrect IAM authentication: check the token
	"APIG.0307": ReasonTokenExpired, // the token must be updated
	"APIG.1002": ReasonTokenExpired, // the access token
	"APIG.2203": ReasonTokenExpired, // the access token is invalid

	"IAM.0002":  ReasonPermissionMissing,
	"IAM.0003":  ReasonPermissionMissing, // the policy does not allow it
	"IAM.0064":  ReasonPermissionMissing, // as a 401
	"IAM.0081":  ReasonPermissionMissing, // console access only
	"IAM.0083":  ReasonPermissionMissing, // a private region
	"APIG.0302": ReasonPermissionMissing,
	"APIG.0304": ReasonPermissionMissing,
	"APIG.0306": ReasonPermissionMissing,
	"APIG.0402": ReasonPermissionMissing, // not from this address
	"APIG.0405": ReasonPermissionMissing, // not from this address
	"APIG.0802": ReasonPermissionMissing, // not in this region

	"1109":     ReasonAlreadyExists, // user name; not IAM.1109, which is about a project
	"1110":     ReasonAlreadyExists, // email address
	"1111":     ReasonAlreadyExists, // mobile number
	"1113":     ReasonAlreadyExists, // xuser_id and xuser_type
	"IAM.0005": ReasonAlreadyExists, // the only one that is a 409

	"1115":      ReasonQuotaExceeded, // users
	"APIG.0501": ReasonQuotaExceeded, // calls of an app, as a 405

	"IAM.0012":  ReasonThrottled,
	"APIG.0308": ReasonThrottled,

	"IAM.0020": ReasonRegionFailover, // as a 410
}

// Reason returns what ServiceCode says beyond the status. A code that is not
// known gives ReasonUnknown, but for 429, which is ReasonThrottled whoever
// answers it.
func (e *StatusError) Reason() Reason {
	code := e.ServiceCode
	if number, ok := strings.CutPrefix(code, "APIGW."); ok {
		code = "APIG." + number
	}
	r := reasons[code]
	if r == ReasonUnknown && e.Code == ErrTooManyRequests {
		return ReasonThrottled
	}
	return r
}

package iamhttp

import (
	"strconv"

	"github.com/iamhttp/iamhttp/internal/answer"
)

// A Reason says what a failure means where the status code alone does not: for example, a
// name that is already taken can cause a 400, and a locked account a 401, as a wrong
// password does. It is derived from the status and the service's code or message; see
// internal/answer/meanings.go. Use it with errors.Is and errors.As, like a [Code]. It
// does not affect retries.
type Reason uint8

// The reasons, each with what it means or what to do.
const (
	ReasonUnknown            Reason = iota // neither code nor message gives a reason that a program can act on
	ReasonAccountLocked                    // wait until the account is unlocked; logging in again does not help
	ReasonCredentialRejected               // the password or access key is wrong, disabled or blacklisted: use another
	ReasonCredentialExpired                // the password, access key or temporary credential has expired: get a new one
	ReasonTokenExpired                     // the token has expired or is invalid: log in again
	ReasonSignatureInvalid                 // check the secret key and the code that signs; logging in again does not help
	ReasonClockSkew                        // the signature is too old, or the clock is wrong: sign again with the correct time
	ReasonPermissionMissing                // ask for a permission, or for access
	ReasonAlreadyExists                    // the resource to be created, or a name that it needs, already exists
	ReasonAPINotFound                      // correct the URL: the gateway has no such API; the resource may exist nevertheless
	ReasonQuotaExceeded                    // delete something or raise the quota
	ReasonThrottled                        // try again later; also applies to every 429 without another reason
	ReasonRegionFailover                   // the service is moving to another region; it is not gone
)

// Error describes the reason in a few words.
func (r Reason) Error() string {
	if words := answer.Reason(r).String(); words != "" {
		return words
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// Reason derives the reason from ServiceCode or, if that does not decide, from Code and
// Message.
func (e *StatusError) Reason() Reason {
	return Reason(answer.ReasonOf(int(e.Code), e.ServiceCode, e.Message))
}

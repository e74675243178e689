package iamhttp

import (
	"strconv"

	"github.com/iamhttp/iamhttp/internal/answer"
)

// A Reason says what a failure means where the status code is misleading: a name that
// is taken can be a 400, and a locked account is a 401 like a wrong password. It is
// derived from the service's code or message, see internal/answer/meanings.go. Use it
// with errors.Is and errors.As, like a [Code]. It does not affect retries.
type Reason uint8

// The reasons, with what happened or what to do.
const (
	ReasonUnknown            Reason = iota // no code, or one that calls for no decision of its own
	ReasonAccountLocked                    // wait until it is unlocked; logging in again does not help
	ReasonCredentialRejected               // the password or access key is wrong, disabled or blacklisted: use another
	ReasonCredentialExpired                // the password, access key or temporary credential is over: get a new one
	ReasonTokenExpired                     // log in again
	ReasonSignatureInvalid                 // check the secret key and what signs; logging in again does not help
	ReasonClockSkew                        // the signature is too old, or the clock is wrong: sign again with the right time
	ReasonPermissionMissing                // ask for a permission, or for access
	ReasonAlreadyExists                    // what was to be created, or a name it needs, exists
	ReasonAPINotFound                      // correct the address: the gateway has no such API, which says nothing of the resource
	ReasonQuotaExceeded                    // delete something or raise the quota
	ReasonThrottled                        // come back later; also every 429 that tells nothing else
	ReasonRegionFailover                   // the service moves to another region; it is not gone
)

// Error describes the reason in a few words.
func (r Reason) Error() string {
	if words := answer.Reason(r).String(); words != "" {
		return words
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// Reason returns the reason that ServiceCode or, failing that, Message gives.
func (e *StatusError) Reason() Reason {
	return Reason(answer.ReasonOf(int(e.Code), e.ServiceCode, e.Message))
}

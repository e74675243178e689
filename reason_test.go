package iamhttp_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
)

func TestAReasonSaysWhatTheStatusDoesNot(t *testing.T) {
	// All codes that have a reason, each with its documented status, and some
	// that must not have one.
	tests := []struct {
		status int
		code   string
		want   iamhttp.Reason
	}{
		{401, "IAM.0061", iamhttp.ReasonAccountLocked},
		{400, "1103", iamhttp.ReasonCredentialRejected},
		{401, "IAM.0062", iamhttp.ReasonCredentialRejected},
		{403, "IAM.0080", iamhttp.ReasonCredentialRejected},
		{403, "IAM.0082", iamhttp.ReasonCredentialRejected},
		{400, "IAM.1104", iamhttp.ReasonCredentialRejected},
		{400, "IAM.1106", iamhttp.ReasonCredentialRejected},
		{400, "IAM.1107", iamhttp.ReasonCredentialRejected},
		{401, "APIG.1004", iamhttp.ReasonCredentialRejected},
		{400, "APIG.1009", iamhttp.ReasonCredentialRejected},
		{400, "APIG.2201", iamhttp.ReasonCredentialRejected},
		{400, "APIG.2202", iamhttp.ReasonCredentialRejected},
		{400, "IAM.1105", iamhttp.ReasonCredentialExpired},
		{400, "IAM.1108", iamhttp.ReasonCredentialExpired},
		{401, "APIG.1001", iamhttp.ReasonCredentialExpired},
		{401, "IAM.0066", iamhttp.ReasonTokenExpired},
		{401, "IAM.0067", iamhttp.ReasonTokenExpired},
		{401, "APIG.0301", iamhttp.ReasonTokenExpired},
		{401, "APIG.0307", iamhttp.ReasonTokenExpired},
		{401, "APIG.1002", iamhttp.ReasonTokenExpired},
		{400, "APIG.2203", iamhttp.ReasonTokenExpired},
		{403, "IAM.0002", iamhttp.ReasonPermissionMissing},
		{403, "IAM.0003", iamhttp.ReasonPermissionMissing},
		{401, "IAM.0064", iamhttp.ReasonPermissionMissing},
		{403, "IAM.0081", iamhttp.ReasonPermissionMissing},
		{403, "IAM.0083", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0302", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0304", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0306", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0402", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0405", iamhttp.ReasonPermissionMissing},
		{403, "APIG.0802", iamhttp.ReasonPermissionMissing},
		{400, "1109", iamhttp.ReasonAlreadyExists},
		{400, "1110", iamhttp.ReasonAlreadyExists},
		{400, "1111", iamhttp.ReasonAlreadyExists},
		{400, "1113", iamhttp.ReasonAlreadyExists},
		{409, "IAM.0005", iamhttp.ReasonAlreadyExists},
		{400, "1115", iamhttp.ReasonQuotaExceeded},
		{405, "APIG.0501", iamhttp.ReasonQuotaExceeded},
		{429, "IAM.0012", iamhttp.ReasonThrottled},
		{429, "APIG.0308", iamhttp.ReasonThrottled},
		{410, "IAM.0020", iamhttp.ReasonRegionFailover},

		{401, "APIGW.0307", iamhttp.ReasonTokenExpired},
		{429, "APIGW.0308", iamhttp.ReasonThrottled},
		{429, "APIG.0501", iamhttp.ReasonQuotaExceeded}, // it says more than the status
		{429, "", iamhttp.ReasonThrottled},
		{429, "something new", iamhttp.ReasonThrottled},
		{410, "", iamhttp.ReasonUnknown},
		{404, "IAM.0004", iamhttp.ReasonUnknown}, // the status says it
		{400, "IAM.0011", iamhttp.ReasonUnknown},
		{400, "IAM.1103", iamhttp.ReasonUnknown},  // a parameter that is missing; 1103 is a wrong password
		{400, "IAM.1109", iamhttp.ReasonUnknown},  // a project that cannot be found; 1109 is a name that is taken
		{400, "1105", iamhttp.ReasonUnknown},      // two parameters that differ; IAM.1105 is an access key
		{401, "APIG.0303", iamhttp.ReasonUnknown}, // the signature, the clock or the key
		{409, "", iamhttp.ReasonUnknown},
		{403, "APIGW.", iamhttp.ReasonUnknown},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, " ", tt.code), func(t *testing.T) {
			e := iamhttp.NewStatusError(tt.status, nil, fmt.Appendf(nil, `{"error_code":%q,"error_msg":"x"}`, tt.code))
			assert.Equal(t, tt.want, e.Reason())
			err := fmt.Errorf("wrapped: %w", e)
			assert.ErrorIs(t, err, iamhttp.Code(tt.status), "the code is found as before")
			var r iamhttp.Reason
			ok := errors.As(err, &r)
			assert.Equal(t, tt.want != iamhttp.ReasonUnknown, ok)
			assert.Equal(t, tt.want, r)
			assert.Equal(t, tt.want == iamhttp.ReasonUnknown, errors.Is(err, iamhttp.ReasonUnknown))
			if ok {
				assert.ErrorIs(t, err, tt.want)
			}
			assert.NotErrorIs(t, err, iamhttp.Reason(200))
		})
	}
}

func TestAReasonDoesNotChangeWhatIsRetried(t *testing.T) {
	base := script(answer(400, `{"error_code":"APIG.0308"}`))
	_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
	assert.ErrorIs(t, err, iamhttp.ReasonThrottled)
	assert.Equal(t, 1, base.count())
}

func TestEveryReasonHasItsOwnWords(t *testing.T) {
	seen := map[string]bool{}
	for r := iamhttp.ReasonUnknown; r <= iamhttp.ReasonRegionFailover; r++ {
		assert.NotEmpty(t, r.Error())
		assert.NotContains(t, r.Error(), "Reason(")
		assert.False(t, seen[r.Error()])
		seen[r.Error()] = true
	}
	assert.EqualError(t, iamhttp.Reason(200), "Reason(200)")
}

package iamhttp_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	reasons "github.com/iamhttp/iamhttp/internal/answer"
)

func TestReasonIsDerivedFromTheServiceCode(t *testing.T) {
	// All codes that have a reason, each with its documented status; then variants of
	// these codes, and some codes without a reason.
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
		{404, "APIG.0101", iamhttp.ReasonAPINotFound},
		{403, "APIG.0314", iamhttp.ReasonAccountLocked},
		{401, "APIG.1003", iamhttp.ReasonCredentialRejected},

		{409, "uniqueness", iamhttp.ReasonAlreadyExists}, // SCIM
		{400, "uniqueness", iamhttp.ReasonUnknown},
		{401, "ACCESS_TOKEN_EXPIRED", iamhttp.ReasonTokenExpired}, // Google
		{401, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", iamhttp.ReasonUnknown},
		{400, "ACCESS_TOKEN_EXPIRED", iamhttp.ReasonUnknown},

		{404, "APIGW.0101", iamhttp.ReasonAPINotFound},
		{404, "apigw.0101", iamhttp.ReasonAPINotFound},
		{401, "iam.0061", iamhttp.ReasonAccountLocked},
		{401, "APIGWW.0307", iamhttp.ReasonUnknown},
		{401, "APIG.03070", iamhttp.ReasonUnknown},
		{401, "APIG.0307.0307", iamhttp.ReasonUnknown},
		{401, "APIG", iamhttp.ReasonUnknown},
		{401, "APIGW.0307", iamhttp.ReasonTokenExpired},
		{429, "APIGW.0308", iamhttp.ReasonThrottled},
		{429, "APIG.0501", iamhttp.ReasonQuotaExceeded}, // the code is more specific than the status
		{429, "", iamhttp.ReasonThrottled},
		{429, "something new", iamhttp.ReasonThrottled},
		{429, "APIG.0303", iamhttp.ReasonThrottled},
		{410, "", iamhttp.ReasonUnknown},
		{404, "IAM.0004", iamhttp.ReasonUnknown}, // the status alone is clear
		{400, "IAM.0011", iamhttp.ReasonUnknown},
		{400, "IAM.1103", iamhttp.ReasonUnknown}, // means a missing parameter; 1103 means a wrong password
		{400, "IAM.1109", iamhttp.ReasonUnknown}, // means a missing project; 1109 means that the name is taken
		{400, "1105", iamhttp.ReasonUnknown},     // means that two parameters differ; IAM.1105 means an expired access key
		{401, "APIG.0305", iamhttp.ReasonUnknown},
		{401, "APIG.0303", iamhttp.ReasonUnknown}, // the signature, the clock or the key may be wrong
		{409, "", iamhttp.ReasonUnknown},
		{403, "APIGW.", iamhttp.ReasonUnknown},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, " ", tt.code), func(t *testing.T) {
			e := iamhttp.NewStatusError(tt.status, nil, fmt.Appendf(nil, `{"error_code":%q,"error_msg":"x"}`, tt.code))
			assert.Equal(t, tt.want, e.Reason())
			err := fmt.Errorf("wrapped: %w", e)
			assert.ErrorIs(t, err, iamhttp.Code(tt.status), "errors.Is must also match the status code")
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

func TestReasonDoesNotAffectRetries(t *testing.T) {
	base := script(answer(400, `{"error_code":"APIG.0308"}`))
	_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
	assert.ErrorIs(t, err, iamhttp.ReasonThrottled)
	assert.Equal(t, 1, base.count())
}

// Many of these texts come from the gateway's documentation and from user reports.
func TestReasonOfAnAmbiguousGatewayCodeIsDerivedFromTheMessage(t *testing.T) {
	const request = "canonicalRequest:PUT|/v2/token/||authorization:SDK-HMAC-SHA256 Access=A, Signature=B|x-security-token:C|x-sdk-date:20201117T072119Z|expired ak locked"
	for _, tt := range []struct {
		detail string
		token  iamhttp.Reason // the expected reason with APIG.0301 or APIGW.0301
		app    iamhttp.Reason // the expected reason with APIG.0303, APIGW.0303 or APIG.0305
	}{
		{"AK access failed to reach the limit,forbidden.", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"AK access failed to reach the limit, forbidden", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"ak is locked, try again in 5 minutes", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"verify aksk signature fail", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify ak sk signature fail", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify aksk signature fail," + request, iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify signature fail, " + request, iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"Access or Credential is empty in Authorization", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"signature expired", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"calc ak sk signature fail:signature expired", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"signature expired, signature time:20230527T000431Z,server time:20230527T020608Z", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"the request time and the server's time differ by more than 15 minutes", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"ak LTAI5tDvssj9BBMtAGT3HoTT not exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:ak not exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"The access key LTAI does not exist.", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"app not found, appkey 01177c425f71", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"app not found", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"ak A expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"securityToken expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"x-security-token is invalid", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"decrypt token fail", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token expires, expires_at: 2026-11-28T00:00:00Z", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"x-auth-token not found", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"neither X-Auth-Token nor Authorization", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token has expired, expire time: 2020, clock: 2021", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token expired, server time:20230527T020608Z", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token timestamp expired", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"failed to verify, timestamp of token", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token signature invalid", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"invalid token: signed with an expired key, server time 10:00", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"x-auth-token not found in authorization", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"decrypt token fail: user not exist", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"calc aksk signature fail:signature expired, signature time:20260528T092752Z,server time:20260528T094410Z", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"x-sdk-date expired", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"RequestTimeTooSkewed", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"X-Sdk-Date is missing", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"x-sdk-date header error", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"invalid sk", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"HMAC mismatch", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"Authorization header error", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify aksk signature fail: user token in the canonical request", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"the signature has not expired, but it is wrong", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"the signature has expired", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"ak ABC expires soon, signature wrong", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"ak signature time expired", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"SignatureDoesNotMatch", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"AccessKey not found.", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"invalid credential", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"domain disabled", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"ak inactive", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"expired ak", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"temporary ak has expired, get a new security token", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"token of temporary access key expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"AK access failed too many times", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"AK is forbidden for 5 minutes", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"user locked", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"token verification failed", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"The token verification failed: expired", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"X-Auth-Token is missing", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"x-auth-token is empty", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"the token does not exist", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"too many verification failures of this AK", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"too many signature errors of this access key", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"Bad credentials", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		// A text that does not blame the token must not cause a login. "Unauthorized" is
		// also the response to a wrong access key.
		{"Unauthorized", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"auth fail", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"certificate rejected", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the token is valid, but the caller's address is not allowed", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"MFA token is invalid", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"OTP token error", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"failed to verify one-time token", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"STS token expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"failed to verify token", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"IAM token fail", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		// Nobody could check the token, the signature or the key.
		{"verify token timeout", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"failed to verify token: connection to IAM refused", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"failed to verify token: dial tcp: lookup iam.example: no such host", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"failed to verify token, DNS failure", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"verify token fail, IAM returned 503", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"invalid token: internal server error", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token error: upstream unavailable", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"decrypt token fail: i/o timeout", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token is invalid: bad gateway", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"failed to verify token: IAM is in maintenance", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"verify token failed, err: context deadline exceeded", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"verify token fail, circuit breaker is open", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token error: certificate has expired", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token fail because of a full disk", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"get IAM token failed", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"invalid token: IAM is down", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"decrypt token fail: malformed", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"verify aksk signature timeout", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"verify signature fail: cannot reach IAM", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"Get secretKey failed,ak:******,err:i/o timeout", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"get secretkey failed, err: IAM timeout", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"Get secretKey failed,ak:******,err:EOF", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"Get secretKey failed,ak:******,err:token invalid", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"unable to get the secret key of ak ******", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"query ak failed: no permission", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token expired, connection closed", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token expired after idle timeout", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		// The token, the signature or the key is not the cause, or not the only one.
		{"failed to verify token: the user is disabled", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"failed to verify token: disabled user", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"token error, account frozen", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"decrypt token fail, the domain was suspended", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"invalid token, the account is locked", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"Get secretKey failed,ak:******,err:ak is locked", iamhttp.ReasonAccountLocked, iamhttp.ReasonAccountLocked},
		{"Get secretKey failed,ak:******,err:ak ****** does not exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:ak disabled", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:ak expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"failed to verify token: access denied", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token illegal: wrong region", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the user token is frozen", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"Token is no longer valid, it was valid until 10:00", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"The token is not valid: it was valid until yesterday", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"Invalid token, iat in the past", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"Invalid token. Scope: project", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"a wrong signature for a scope of another day", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify aksk signature fail, wrong scope", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify aksk signature fail, token not found", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify signature fail, x-auth-token is missing", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify aksk signature fail, ak: AKX, x-auth-token: expired", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"verify signature of token fail", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"securityToken not match ak", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"the security token does not match the access key", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"x-security-token is missing", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the security token included in the request is expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"X-Sdk-Date is more than 15 minutes from server time", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"the request time deviates from the server time", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"X-Sdk-Date is 20 minutes behind the server time", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"the clock is ahead of the server's", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"The signature has timed out", iamhttp.ReasonClockSkew, iamhttp.ReasonClockSkew},
		{"x-sdk-date format error", iamhttp.ReasonSignatureInvalid, iamhttp.ReasonSignatureInvalid},
		{"ak doesn't exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"ak doesn’t exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"app doesn't exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:invalid ak", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:ak invalid", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:no such ak", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:ak is not active", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:the access key is blacklisted", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:user not exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:credential not exist", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"Get secretKey failed,ak:******,err:record not found", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"The user login has expired, log in again", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the user was removed from the project", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"account removed from group", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"The token has expired; the user was removed from it", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"The account password is expired", iamhttp.ReasonCredentialExpired, iamhttp.ReasonCredentialExpired},
		{"Token error: expired", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token fail: expired", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token verify failed, expired", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token error: token is illegal", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token check failed: illegal token", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"illegal token, not allowed", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"decrypt token fail, please check the token's region", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"token error: the license has expired", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"illegal token: wrong region", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"The IAM token is invalid. Contact the service administrator if the service error persists", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"verification token is missing", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"x-security-token is empty", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token is missing the required scope", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token is missing required roles", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the user of the token does not exist", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token project does not exist", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"ak A not exist, x-auth-token is missing", iamhttp.ReasonCredentialRejected, iamhttp.ReasonCredentialRejected},
		{"too many requests, ak A failed", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"too many requests failed for this access key", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"too many backend errors, cannot check the AK", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"token is invalid. Request ID 502", iamhttp.ReasonTokenExpired, iamhttp.ReasonTokenExpired},
		{"Access blocked: IP not in whitelist, authentication failed", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown},
		{"the break of the weak", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown}, // "ak" occurs only inside words
		{"", iamhttp.ReasonTokenExpired, iamhttp.ReasonUnknown},
		{strings.Repeat("x", 10_000) + " signature expired", iamhttp.ReasonUnknown, iamhttp.ReasonUnknown}, // too far from the beginning
	} {
		for code, want := range map[string]iamhttp.Reason{"APIG.0301": tt.token, "APIGW.0301": tt.token, "APIG.0303": tt.app, "APIGW.0303": tt.app, "APIG.0305": tt.app} {
			kind, more := "IAM", " (see the documentation)"
			if tt.detail == "" {
				more = ""
			}
			if strings.HasSuffix(code, "3") {
				kind = "app"
			}
			for _, text := range []string{
				tt.detail,
				"Incorrect " + kind + " authentication information: " + tt.detail,
				strings.ToUpper(tt.detail),
				"INCORRECT AUTHENTICATION INFORMATION:" + strings.ToLower(tt.detail) + more,
			} {
				e := &iamhttp.StatusError{Code: 401, ServiceCode: code, Message: text}
				assert.Equal(t, want, e.Reason(), "wrong reason for service code %s and message %.200s", code, text)
			}
		}
	}
}

func TestReasonIsDerivedFromAMessageWithInvalidEscapes(t *testing.T) {
	const begin = "Incorrect IAM authentication information: "
	for _, text := range []string{
		`AK access failed to reach the limit,forbidden for \'AKX\'`,
		`C:\keys: AK access failed to reach the limit,forbidden`,
		"\\\"AKX\\\":\tAK access failed to reach the limit,forbidden",
		"\\\"AKX\\\":\nAK access failed to reach the limit,forbidden",
		`\x41K access failed to reach the limit, ak is locked`,
	} {
		for _, code := range []string{"APIG.0301", "APIGW.0301", "APIG.0303", "APIG.0305"} {
			e := iamhttp.NewStatusError(401, nil, []byte(`{"error_code":"`+code+`","error_msg":"`+begin+text+`"}`))
			assert.Equal(t, iamhttp.ReasonAccountLocked, e.Reason(), "service code %s and message %q", code, text)
		}
	}
}

// A new token does not help if, for example, the message says that the account is locked.
func TestReasonIsUnknownIfTheMessageThatDecidesIsUnreadable(t *testing.T) {
	for _, text := range []string{
		`\u0001\u0002`, "\x00\x1f", "\u200b\u202e", // no printable character
		"\xd3\xc3\xbb\xa7\xd2\xd1\xcb\xf8\xb6\xa8", // an encoding other than UTF-8
		"\u9501", "\u7528\u6237\u5df2\u88ab\u9501\u5b9a", // Chinese, for "locked" and "the user has been locked"
	} {
		for _, code := range []string{"APIG.0301", "APIGW.0301", "APIG.0303", "APIG.0305"} {
			e := iamhttp.NewStatusError(401, nil, []byte(`{"error_code":"`+code+`","error_msg":"`+text+`"}`))
			assert.Equal(t, iamhttp.ReasonUnknown, e.Reason(), "service code %s and message %q", code, text)
		}
	}
	for _, body := range []string{`{"error_code":"APIG.0301"}`, `{"error_code":"APIG.0301","error_msg":" "}`, `{"error_code":"APIG.0301","error_msg":null}`} {
		assert.Equal(t, iamhttp.ReasonTokenExpired, iamhttp.NewStatusError(401, nil, []byte(body)).Reason(), body)
	}
}

// messageReasons lists the reasons of errors without a service code, or with one that several
// causes share.
var messageReasons = []struct {
	status  int
	message string
	want    iamhttp.Reason
}{
	// Messages from Keystone, and from Open Telekom Cloud's /v3.
	{401, "The account is locked for user: 01b5b2fb7f1547f282dc1c62ff0087e1.", iamhttp.ReasonAccountLocked},
	{401, "The account is locked.", iamhttp.ReasonAccountLocked},
	{401, "The password is expired and needs to be changed for user: 01b5b2fb.", iamhttp.ReasonCredentialExpired},
	{401, "The account is disabled for user: 01b5b2fb.", iamhttp.ReasonCredentialRejected},
	{401, "Error authenticating with application credential: Application Credential is expired", iamhttp.ReasonCredentialExpired},
	{401, "Error authenticating with application credential: Could not find Application Credential: 01b5b2fb.", iamhttp.ReasonCredentialRejected},
	{401, "The request you have made requires authentication.", iamhttp.ReasonUnknown},
	// A new token would not help here.
	{401, "The access token is not valid for this audience.", iamhttp.ReasonUnknown},
	{401, "Token is invalid for the requested region.", iamhttp.ReasonUnknown},
	{401, "This token is not valid for project demo", iamhttp.ReasonUnknown},
	{401, "Invalid token for tenant x", iamhttp.ReasonUnknown},
	{401, "token is not valid yet", iamhttp.ReasonUnknown}, // golang-jwt
	{401, "The access token is not valid yet", iamhttp.ReasonUnknown},
	{401, "The token is not yet valid (nbf)", iamhttp.ReasonUnknown}, // PyJWT
	{401, "The JWT is not valid before Mon", iamhttp.ReasonUnknown},
	{401, "Invalid token: token used before issued", iamhttp.ReasonUnknown},
	{401, "Invalid token: issued in the future", iamhttp.ReasonUnknown},
	{401, "Invalid token: nbf is in the future", iamhttp.ReasonUnknown},
	{401, "Invalid token (now is before nbf)", iamhttp.ReasonUnknown},
	{401, "Token is no longer valid, it was valid until 10:00", iamhttp.ReasonTokenExpired},
	{401, "Token no longer valid (valid until 2024-01-01)", iamhttp.ReasonTokenExpired},
	{401, "The token is not valid: it was valid until yesterday", iamhttp.ReasonTokenExpired},
	{401, "The token is invalid (exp < iat)", iamhttp.ReasonTokenExpired},
	{401, "Invalid token, iat in the past", iamhttp.ReasonTokenExpired},
	{401, "Invalid token: it was valid before 10:00", iamhttp.ReasonTokenExpired},
	{401, "token has invalid claims: token has invalid audience", iamhttp.ReasonUnknown},
	{401, "token has invalid issuer", iamhttp.ReasonUnknown},
	{401, "token has invalid subject", iamhttp.ReasonUnknown},
	{401, "token has invalid id", iamhttp.ReasonUnknown},
	{401, "token has invalid claims: token is expired", iamhttp.ReasonTokenExpired},
	{401, "token has invalid claims", iamhttp.ReasonUnknown},
	{401, "Invalid token: audience mismatch", iamhttp.ReasonUnknown},
	{401, "Invalid token: wrong issuer", iamhttp.ReasonUnknown},
	{401, "Invalid token. The token does not have the required scope.", iamhttp.ReasonUnknown},
	{401, "The access token is invalid: it lacks the scope users:read", iamhttp.ReasonUnknown},
	{401, "Invalid token. Please check your scope and log in again", iamhttp.ReasonTokenExpired},
	{401, "Invalid token, please check your scope and log in again", iamhttp.ReasonTokenExpired},
	{401, "Token is invalid. Subject: alice", iamhttp.ReasonTokenExpired},
	{401, "Token is invalid (subject alice)", iamhttp.ReasonTokenExpired},
	{401, "Invalid token. Scope: project", iamhttp.ReasonTokenExpired},
	{403, "Invalid token or insufficient permissions", iamhttp.ReasonUnknown},
	{401, "Access token has expired or is not yet valid.", iamhttp.ReasonTokenExpired}, // Microsoft Graph
	{401, "The token has expired. Log in with the scope users:read.", iamhttp.ReasonTokenExpired},
	{401, `Invalid token: "exp" claim timestamp check failed`, iamhttp.ReasonTokenExpired},
	{401, "Given token not valid for any token type", iamhttp.ReasonTokenExpired}, // Simple JWT
	{401, "The token is not valid for any project", iamhttp.ReasonUnknown},
	{401, "Invalid token", iamhttp.ReasonTokenExpired},
	{401, "The token has expired for user alice.", iamhttp.ReasonTokenExpired},
	{401, "Token has been expired for 5 minutes", iamhttp.ReasonTokenExpired},
	{403, "X-Auth-Token is invalid", iamhttp.ReasonTokenExpired},
	{403, "You are not authorized to perform the requested action: identity:create_user.", iamhttp.ReasonUnknown},
	{409, "Conflict occurred attempting to store user - Duplicate entry found with name bob at domain ID default.", iamhttp.ReasonAlreadyExists},
	{409, "Conflict occurred attempting to store project - it is not permitted to have two projects with the same name in the same domain : bob.", iamhttp.ReasonAlreadyExists},
	{409, "The role already exists.", iamhttp.ReasonAlreadyExists},
	{409, "Cannot delete the network while ports are in use.", iamhttp.ReasonUnknown},
	{409, "Another update came first.", iamhttp.ReasonUnknown},

	{401, "Domain is disabled: default", iamhttp.ReasonUnknown},
	{401, "The username or password is wrong.", iamhttp.ReasonCredentialRejected},
	{401, "Invalid username or password", iamhttp.ReasonCredentialRejected},
	{401, "Bad credentials", iamhttp.ReasonCredentialRejected}, // Spring Security
	{401, "The password you entered is incorrect", iamhttp.ReasonCredentialRejected},
	{401, "Account suspended", iamhttp.ReasonCredentialRejected},
	{401, "The user is frozen", iamhttp.ReasonCredentialRejected},
	{401, "The user's session was suspended", iamhttp.ReasonUnknown},
	{401, "jwt expired", iamhttp.ReasonTokenExpired},
	{401, "Invalid JWT", iamhttp.ReasonTokenExpired},
	{401, "The JWT has not expired", iamhttp.ReasonUnknown},
	{401, "The JWT is invalid for this resource", iamhttp.ReasonUnknown},
	{401, "one-time JWT expired", iamhttp.ReasonUnknown},
	{409, "The user name already existed", iamhttp.ReasonAlreadyExists},
	{409, "The user name is in use", iamhttp.ReasonAlreadyExists},
	{409, "The name prod is in use by 3 resources", iamhttp.ReasonUnknown},
	{409, "The name bob is occupied", iamhttp.ReasonAlreadyExists},
	{409, "The name is duplicated", iamhttp.ReasonAlreadyExists},
	{409, "Duplicate group name", iamhttp.ReasonAlreadyExists},
	{409, "The group is in use", iamhttp.ReasonUnknown},
	{409, "The name of a network that is in use cannot change", iamhttp.ReasonUnknown},
	{409, "The name is not in use", iamhttp.ReasonUnknown},
	{401, "Bad username or password", iamhttp.ReasonCredentialRejected},
	{401, "Invalid authentication credentials", iamhttp.ReasonUnknown}, // FastAPI says so of a token
	{401, "Authentication credentials invalid", iamhttp.ReasonUnknown},
	{401, "Your authentication credentials are incorrect", iamhttp.ReasonCredentialRejected},
	{401, "The authentication credentials are invalid: wrong password", iamhttp.ReasonCredentialRejected},
	{401, "Invalid authentication credentials: wrong password", iamhttp.ReasonCredentialRejected},
	{401, "Incorrect authentication credentials.", iamhttp.ReasonCredentialRejected},
	{401, "The authentication credentials are invalid", iamhttp.ReasonUnknown},
	{401, "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.", iamhttp.ReasonUnknown}, // Google
	{401, "Bad request: password", iamhttp.ReasonUnknown},
	{401, "Insufficient auth methods received for 01b5b2fb. Auth Methods Provided: password.", iamhttp.ReasonUnknown},
	{401, "Additional authentications steps required.", iamhttp.ReasonUnknown},
	{401, "Account locked.", iamhttp.ReasonAccountLocked},
	{401, "User bob is temporarily locked", iamhttp.ReasonAccountLocked},
	{401, "You cannot log in because your account is locked.", iamhttp.ReasonAccountLocked},
	{401, "After several failed attempts, your account has been locked.", iamhttp.ReasonAccountLocked},
	{401, "You have been locked out.", iamhttp.ReasonAccountLocked},
	{401, "Access to your account is locked until 10:00.", iamhttp.ReasonAccountLocked},
	{401, "The maximum number of failed login attempts has been exceeded.", iamhttp.ReasonAccountLocked},
	{401, "Invalid token.", iamhttp.ReasonTokenExpired},
	{401, "The access token expired", iamhttp.ReasonTokenExpired},
	{401, "The provided token is expired, revoked or malformed", iamhttp.ReasonTokenExpired},
	{401, "Session has expired, please log in again.", iamhttp.ReasonTokenExpired},
	{403, "X-Auth-Token is invalid in the request", iamhttp.ReasonTokenExpired},
	{403, "token is expired", iamhttp.ReasonTokenExpired},
	{409, "Duplicate name", iamhttp.ReasonAlreadyExists},
	{409, "The user name is already in use.", iamhttp.ReasonAlreadyExists},
	{409, "name is already in use", iamhttp.ReasonAlreadyExists},
	{409, "A user with this name exists", iamhttp.ReasonAlreadyExists},
	{409, "User exists with same username", iamhttp.ReasonAlreadyExists}, // Keycloak
	{409, "User exists with same email", iamhttp.ReasonAlreadyExists},
	{409, "A user with that username exists", iamhttp.ReasonAlreadyExists},
	{409, "Email exists", iamhttp.ReasonAlreadyExists},
	{409, "The user name must be unique.", iamhttp.ReasonAlreadyExists},
	{409, "No user exists with this name", iamhttp.ReasonUnknown},
	{409, "check that the name exists", iamhttp.ReasonUnknown},
	{409, "email exists check failed", iamhttp.ReasonUnknown},
	{409, "alias exists only in eu", iamhttp.ReasonUnknown},
	{409, "The name has already been used", iamhttp.ReasonAlreadyExists},
	{409, "This email address has already been used by another user", iamhttp.ReasonAlreadyExists},
	{409, "The phone number was already used", iamhttp.ReasonAlreadyExists},
	{409, "Idempotency key has already been used for another void request", iamhttp.ReasonUnknown},
	{409, "The nonce has already been used", iamhttp.ReasonUnknown},
	{409, "The coupon has already been used", iamhttp.ReasonUnknown},
	{409, "The authorization code has already been used", iamhttp.ReasonUnknown},
	{409, "The refresh token has already been used", iamhttp.ReasonUnknown},
	{409, "Error when creating the user: the email address is already taken", iamhttp.ReasonAlreadyExists},

	// Warnings, conditions and negations.
	{401, "Incorrect password. The account will be locked after 2 more failed attempts", iamhttp.ReasonCredentialRejected},
	{401, "Incorrect password. Your account will be locked if you fail 2 more times.", iamhttp.ReasonCredentialRejected},
	{401, "Password wrong; the account is not locked.", iamhttp.ReasonCredentialRejected},
	{401, "Incorrect password, the account is not locked yet", iamhttp.ReasonCredentialRejected},
	{401, "Wrong password. One more failed attempt and your account is locked.", iamhttp.ReasonCredentialRejected},
	{401, "The account is locked after more than 5 failed attempts.", iamhttp.ReasonAccountLocked},
	{401, "The token expires in 5 minutes.", iamhttp.ReasonUnknown},
	{401, "2 attempts left before your account is locked", iamhttp.ReasonUnknown},
	{401, "If you fail again, the account is locked for 15 minutes.", iamhttp.ReasonUnknown},
	{401, "The account is locked if you fail again.", iamhttp.ReasonUnknown},
	{401, "After 5 failed attempts, the account is locked.", iamhttp.ReasonUnknown},
	{401, "Your account may be locked.", iamhttp.ReasonUnknown},
	{401, "To avoid that your account is locked, wait.", iamhttp.ReasonUnknown},
	{401, "Account lockout policy: 5 failed attempts", iamhttp.ReasonUnknown},
	{401, "The account isn't locked, and the password has not expired.", iamhttp.ReasonUnknown},
	{401, "The account isn’t locked.", iamhttp.ReasonUnknown},
	{401, "Your password will expire in 3 days", iamhttp.ReasonUnknown},
	{401, "The token has not expired.", iamhttp.ReasonUnknown},
	{401, "The token is valid until it is revoked", iamhttp.ReasonUnknown},
	{429, "Accounts will be locked after too many failed login attempts", iamhttp.ReasonThrottled},
	{403, "Password expiry policy: user passwords expire after 90 days; action not allowed", iamhttp.ReasonUnknown},
	{409, "Cannot delete: the group does not already exist", iamhttp.ReasonUnknown},
	{409, "Only users that already exist can be added.", iamhttp.ReasonUnknown},
	{409, "The user may already exist.", iamhttp.ReasonUnknown},
	{409, "Deletion is already existing in the queue", iamhttp.ReasonUnknown},

	// Messages about another subject.
	{429, "Resource is locked by another user", iamhttp.ReasonThrottled},
	{429, "The user's volume is locked", iamhttp.ReasonThrottled},
	{429, "The server of this user is locked", iamhttp.ReasonThrottled},
	{429, "Another user has locked the file.", iamhttp.ReasonThrottled},
	{429, "Another user is locked", iamhttp.ReasonThrottled},
	{429, "Database locked; too many attempts to write", iamhttp.ReasonThrottled},
	{429, "Too many password change requests", iamhttp.ReasonThrottled},
	{429, "Too many requests: invalid authentication endpoint", iamhttp.ReasonThrottled},
	{429, "Too many requests. Auth calls: 5/min", iamhttp.ReasonThrottled},
	{429, "Too many invalid requests for this user", iamhttp.ReasonThrottled},
	{429, "Too many attempts", iamhttp.ReasonThrottled},
	{403, "You cannot extend a locked user session", iamhttp.ReasonUnknown},
	{403, "User disabled this feature", iamhttp.ReasonUnknown},
	{403, "MFA disabled for user 5", iamhttp.ReasonUnknown},
	{403, "Policy does not allow; your refresh token expired", iamhttp.ReasonCredentialExpired},
	{403, "The CSRF token has expired", iamhttp.ReasonUnknown},

	// Tokens that a login does not renew.
	{401, "One time passcode token is invalid", iamhttp.ReasonUnknown},
	{401, "Invalid passcode token", iamhttp.ReasonUnknown},
	{401, "invalid one-time token", iamhttp.ReasonUnknown},
	{401, "The one-time login token has expired", iamhttp.ReasonUnknown},
	{401, "Expired onetime token", iamhttp.ReasonUnknown},
	{401, "The OTP token is invalid", iamhttp.ReasonUnknown},
	{401, "Invalid TOTP token", iamhttp.ReasonUnknown},
	{401, "Your two-factor token is invalid", iamhttp.ReasonUnknown},
	{401, "2FA token expired", iamhttp.ReasonUnknown},
	{401, "MFA token invalid", iamhttp.ReasonUnknown},
	{401, "SMS token invalid", iamhttp.ReasonUnknown},
	{401, "SAML token is invalid", iamhttp.ReasonUnknown},
	{401, "API token is invalid", iamhttp.ReasonUnknown},
	{401, "Invalid API token", iamhttp.ReasonUnknown},
	{401, "The API token has been revoked", iamhttp.ReasonUnknown},
	{401, "The personal access token is invalid", iamhttp.ReasonUnknown},
	{401, "Your personal access token has been revoked.", iamhttp.ReasonUnknown},
	{401, "Personal access token is expired", iamhttp.ReasonCredentialExpired},
	{401, "STS token expired", iamhttp.ReasonCredentialExpired},
	{401, "The STS token is invalid", iamhttp.ReasonUnknown},
	{401, "Federation token has expired", iamhttp.ReasonCredentialExpired},
	{401, "The temporary security token has expired", iamhttp.ReasonCredentialExpired},
	{401, "X-Security-Token is expired", iamhttp.ReasonCredentialExpired},
	{401, "The session token has expired", iamhttp.ReasonUnknown}, // a session's, or that of a temporary access key
	{401, "Session token is invalid", iamhttp.ReasonUnknown},
	{401, "The refresh token is invalid", iamhttp.ReasonUnknown},
	{403, "The security token included in the request is expired", iamhttp.ReasonCredentialExpired}, // AWS
	{403, "The security token included in the request is invalid.", iamhttp.ReasonUnknown},
	{401, "The token included in the request is expired", iamhttp.ReasonTokenExpired},
	{401, "The token you provided has expired", iamhttp.ReasonTokenExpired},
	{401, "The access token sent with this request is invalid", iamhttp.ReasonTokenExpired},
	{403, "The user in the request is disabled", iamhttp.ReasonUnknown}, // another user than the caller, perhaps
	{401, "Refresh token expired", iamhttp.ReasonCredentialExpired},
	{401, "The ID token has expired", iamhttp.ReasonUnknown},
	{401, "id_token is expired", iamhttp.ReasonUnknown},
	{401, "Invalid id_token", iamhttp.ReasonUnknown},
	{401, "The registration access token is invalid", iamhttp.ReasonUnknown},
	{401, "Registration token expired", iamhttp.ReasonUnknown},
	{401, "Reset password token is invalid", iamhttp.ReasonUnknown},
	{401, "The password reset token has expired", iamhttp.ReasonUnknown},
	{401, "Confirmation token is invalid", iamhttp.ReasonUnknown},
	{401, "The bootstrap token has expired", iamhttp.ReasonUnknown},
	{403, "Invalid anti-forgery token", iamhttp.ReasonUnknown},
	{403, "CSRF token invalid or expired", iamhttp.ReasonUnknown},
	{403, "The continuation token has expired", iamhttp.ReasonUnknown},
	{401, "The user token is disabled", iamhttp.ReasonUnknown},

	{401, "Invalid webhook token", iamhttp.ReasonUnknown}, // Discord
	{401, "Invalid upload token", iamhttp.ReasonUnknown},
	{401, "Invalid runner token", iamhttp.ReasonUnknown},
	{401, "Invalid join token", iamhttp.ReasonUnknown},
	{401, "Invalid registry token", iamhttp.ReasonUnknown},
	{401, "Invalid bot token", iamhttp.ReasonUnknown},
	{403, "The ACL token was not found", iamhttp.ReasonUnknown},
	{401, "The cluster token has expired", iamhttp.ReasonUnknown},
	{401, "The payment token has expired", iamhttp.ReasonUnknown},

	// Not a token at all, but a part of one or of a request.
	{401, "Invalid token header. No credentials provided.", iamhttp.ReasonUnknown}, // Django REST framework
	{401, "Invalid token header. Token string should not contain spaces.", iamhttp.ReasonUnknown},
	{401, "Invalid token prefix", iamhttp.ReasonUnknown},
	{401, "Invalid token claims", iamhttp.ReasonUnknown},
	{401, "Invalid token scopes", iamhttp.ReasonUnknown},
	{401, "Invalid token-prefix", iamhttp.ReasonUnknown},
	{401, "Invalid token-expired", iamhttp.ReasonTokenExpired},
	{401, "Invalid token_expired", iamhttp.ReasonTokenExpired},
	{401, "Invalid Token Unauthorized access", iamhttp.ReasonTokenExpired},
	{401, "Invalid token string", iamhttp.ReasonTokenExpired},
	{401, "Invalid token login required", iamhttp.ReasonTokenExpired},
	{401, "Invalid token abc", iamhttp.ReasonTokenExpired},
	{401, "Invalid token format", iamhttp.ReasonUnknown},
	{401, "Invalid JWT token header", iamhttp.ReasonUnknown},
	{401, "Invalid JWT Token", iamhttp.ReasonTokenExpired}, // Lexik
	{401, "Invalid token signature", iamhttp.ReasonTokenExpired},
	{401, "Invalid token provided", iamhttp.ReasonTokenExpired},
	{401, "Invalid token 0fd2c8a1", iamhttp.ReasonTokenExpired},
	{401, "Expired token ID 17", iamhttp.ReasonTokenExpired},
	{401, "Invalid token - please log in", iamhttp.ReasonTokenExpired},
	{401, "Invalid token please log in again", iamhttp.ReasonTokenExpired},
	{401, "Expired token received for JSON Web Token validation", iamhttp.ReasonTokenExpired}, // Auth0

	// Sessions that do not begin with a login.
	{401, "Payment session has expired", iamhttp.ReasonUnknown},
	{401, "Your SMS session has expired", iamhttp.ReasonUnknown},
	{401, "The upload session has expired", iamhttp.ReasonUnknown},
	{401, "Upload session not found", iamhttp.ReasonUnknown},
	{401, "Your chat session has expired", iamhttp.ReasonUnknown},
	{401, "The file transfer session is invalid", iamhttp.ReasonUnknown},
	{401, "Your current checkout session expired", iamhttp.ReasonUnknown},
	{401, "Your vSphere session has expired", iamhttp.ReasonTokenExpired},
	{401, "Your Okta session has expired", iamhttp.ReasonTokenExpired},
	{401, "Your NetScaler session has expired", iamhttp.ReasonTokenExpired},
	{401, "Your OTC session has expired", iamhttp.ReasonTokenExpired},
	{401, "vCenter session has expired", iamhttp.ReasonTokenExpired},
	{401, "Horizon session expired", iamhttp.ReasonTokenExpired},
	{401, "HTTP session expired", iamhttp.ReasonTokenExpired},
	{401, "OIDC session expired", iamhttp.ReasonTokenExpired},
	{401, "admin session expired", iamhttp.ReasonTokenExpired},
	{401, "Management session has expired", iamhttp.ReasonTokenExpired},
	{401, "The JSESSIONID session is invalid", iamhttp.ReasonTokenExpired},
	{401, "The requested session has expired", iamhttp.ReasonTokenExpired},
	{401, "Your session has expired", iamhttp.ReasonTokenExpired},
	{401, "The AWS SSO session has expired", iamhttp.ReasonTokenExpired},
	{401, "The user's session has expired", iamhttp.ReasonTokenExpired},
	{401, "Your current login session has expired", iamhttp.ReasonTokenExpired},

	// Tokens that a login renews.
	{401, "The token is expired", iamhttp.ReasonTokenExpired},
	{401, "Token has been revoked.", iamhttp.ReasonTokenExpired},
	{401, "The user's token has expired", iamhttp.ReasonTokenExpired},
	{401, "User token expired", iamhttp.ReasonTokenExpired},
	{401, "The bearer token is invalid", iamhttp.ReasonTokenExpired},
	{401, "The API access token has expired", iamhttp.ReasonTokenExpired},
	{401, "Invalid access token", iamhttp.ReasonTokenExpired},
	{401, "The trust token is invalid", iamhttp.ReasonTokenExpired},
	{401, "The Fernet token is no longer valid", iamhttp.ReasonTokenExpired},
	{401, "The federated token has expired", iamhttp.ReasonTokenExpired},
	{401, "IAM API: token expired", iamhttp.ReasonTokenExpired},
	{401, "At this time token validation failed: the request time token is expired", iamhttp.ReasonTokenExpired},
	{401, "Keystone: the project-scoped token has expired", iamhttp.ReasonTokenExpired},
	{401, "X-Auth-Token is expired", iamhttp.ReasonTokenExpired},
	{401, "Expired X-Auth-Token", iamhttp.ReasonTokenExpired},
	{401, "User session has expired", iamhttp.ReasonTokenExpired},
	{403, "X-Subject-Token is invalid in the request.", iamhttp.ReasonUnknown},
	{403, "invalid refresh_token", iamhttp.ReasonUnknown},
	{403, "Invalid token scope", iamhttp.ReasonUnknown},
	{409, "Duplicate request", iamhttp.ReasonUnknown},

	{429, "The account is locked after too many wrong passwords.", iamhttp.ReasonAccountLocked},
	{429, "User locked after 5 wrong passwords", iamhttp.ReasonAccountLocked},
	{429, "Account temporarily locked due to too many failed login attempts", iamhttp.ReasonAccountLocked},
	{429, "LOCKED: WRONG PASSWORD", iamhttp.ReasonAccountLocked},
	{429, "Too many failed logins. Please wait 15 minutes.", iamhttp.ReasonAccountLocked},
	{429, "Too many login attempts, please try again later.", iamhttp.ReasonAccountLocked},
	{429, "Too many requests of this account.", iamhttp.ReasonThrottled},
	{429, "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute", iamhttp.ReasonThrottled},
	{429, "Your account is blocked: too many requests", iamhttp.ReasonThrottled}, // blocked is not locked
	{429, "Rate limit: 5 requests a minute to the login endpoint.", iamhttp.ReasonThrottled},
	{429, "Password entered incorrectly too many times", iamhttp.ReasonAccountLocked},
	{429, "wrong password entered too many times", iamhttp.ReasonAccountLocked},
	{429, "Too many times, a wrong password was entered", iamhttp.ReasonAccountLocked},
	{429, "Password incorrect: too many attempts", iamhttp.ReasonAccountLocked},
	{429, "The login failed too often.", iamhttp.ReasonAccountLocked},
	{429, "IP address locked due to many failed login attempts", iamhttp.ReasonAccountLocked},
	{429, "Access blocked: wrong passwords", iamhttp.ReasonAccountLocked},
	{429, "The login failed too many times", iamhttp.ReasonAccountLocked},
	{429, "Account blocked: authentication failed", iamhttp.ReasonAccountLocked},
	{429, "Access blocked: IP not in whitelist, authentication failed", iamhttp.ReasonThrottled},
	{429, "Client blocked: failed auth by proxy", iamhttp.ReasonThrottled},
	{429, "You log in too often, authentication failed", iamhttp.ReasonThrottled},
	{429, "Login failed: too many times, try again in a minute", iamhttp.ReasonThrottled},
	{429, "Credential check failed because it is sent too many times", iamhttp.ReasonThrottled},
	{429, "Login API called too many times: invalid", iamhttp.ReasonThrottled},
	{429, "Too many failed requests: the login was called too many times", iamhttp.ReasonThrottled},
	{429, "The IP address is locked.", iamhttp.ReasonThrottled},
	{401, "Entering a wrong password too many times locks the account.", iamhttp.ReasonCredentialRejected},
	{401, "If a wrong password is entered too many times, wait.", iamhttp.ReasonUnknown},
	{401, "Invalid token: connection refused", iamhttp.ReasonUnknown},
	{401, "The token is invalid: internal server error", iamhttp.ReasonUnknown},
	{401, "Session timed out: invalid token", iamhttp.ReasonTokenExpired},
	{423, "The user is locked.", iamhttp.ReasonAccountLocked},
	{423, "The server is locked.", iamhttp.ReasonUnknown},

	// With other statuses, the message does not decide the reason.
	{400, "The account is locked.", iamhttp.ReasonUnknown},
	{404, "The user already exists.", iamhttp.ReasonUnknown},
	{500, "The account is locked.", iamhttp.ReasonUnknown},
}

func TestReasonIsDerivedFromTheMessageIfTheServiceCodeDoesNotDecide(t *testing.T) {
	for _, tt := range messageReasons {
		for _, code := range []string{"", "IAM.0001", "Unheard.1"} {
			e := &iamhttp.StatusError{Code: iamhttp.Code(tt.status), ServiceCode: code, Message: tt.message}
			assert.Equal(t, tt.want, e.Reason(), "wrong reason for status %d, service code %q and message %s", tt.status, code, tt.message)
		}
	}
	for _, code := range []string{"APIG.0301", "APIGW.0303", "APIG.0305"} {
		for message, want := range map[string]iamhttp.Reason{
			"auth fail": iamhttp.ReasonThrottled, "AK access failed to reach the limit,forbidden": iamhttp.ReasonAccountLocked,
		} {
			assert.Equal(t, want, (&iamhttp.StatusError{Code: 429, ServiceCode: code, Message: message}).Reason(), "%s: %s", code, message)
		}
	}
	locked := "The account is locked after too many wrong passwords."
	for code, want := range map[string]iamhttp.Reason{
		"IAM.0012":   iamhttp.ReasonAccountLocked, // this code is no more specific than the status
		"APIGW.0308": iamhttp.ReasonAccountLocked,
		"APIG.0501":  iamhttp.ReasonQuotaExceeded,
	} {
		assert.Equal(t, want, (&iamhttp.StatusError{Code: 429, ServiceCode: code, Message: locked}).Reason(), code)
	}
}

// A documented code does not say whether the account is also locked or the password has
// expired. If so, neither a new token nor another attempt with the same password helps.
func TestLockedAccountOrExpiredPasswordInTheMessageCanOverrideTheServiceCode(t *testing.T) {
	for _, tt := range []struct {
		status  int
		code    string
		message string
		want    iamhttp.Reason
	}{
		{401, "IAM.0062", "The account is locked because of too many failed attempts", iamhttp.ReasonAccountLocked},
		{401, "IAM.0062", "Incorrect password. Your account has been locked for 15 minutes.", iamhttp.ReasonAccountLocked},
		{400, "1103", "Incorrect password. The account is locked for 15 minutes.", iamhttp.ReasonAccountLocked},
		{403, "IAM.0082", "The user is locked.", iamhttp.ReasonAccountLocked},
		{401, "IAM.0067", "The token is invalid: account locked", iamhttp.ReasonAccountLocked},
		{401, "APIGW.0307", "The token must be updated. AK locked", iamhttp.ReasonAccountLocked},
		{403, "IAM.0002", "You are not authorized. The account is locked.", iamhttp.ReasonAccountLocked},
		{403, "IAM.0002", "Access blocked: wrong passwords", iamhttp.ReasonPermissionMissing},
		{403, "IAM.0002", "Login failed: too many times, try again in a minute", iamhttp.ReasonPermissionMissing},
		{401, "IAM.0066", "Client blocked: failed auth by proxy", iamhttp.ReasonTokenExpired},
		{401, "IAM.0066", "The password has expired", iamhttp.ReasonCredentialExpired},
		{401, "IAM.0067", "Invalid token: the user is disabled", iamhttp.ReasonCredentialRejected},

		{401, "IAM.0062", "Incorrect password. The account will be locked after 2 more failed attempts.", iamhttp.ReasonCredentialRejected},
		{401, "IAM.0062", "Invalid token", iamhttp.ReasonCredentialRejected},
		{401, "IAM.0066", "The token has expired", iamhttp.ReasonTokenExpired},
		{401, "IAM.0067", "Invalid token: connection refused", iamhttp.ReasonTokenExpired},
		{403, "IAM.0002", "Access denied. The password has expired.", iamhttp.ReasonPermissionMissing},
		{400, "1109", "The account is locked.", iamhttp.ReasonAlreadyExists},
	} {
		e := &iamhttp.StatusError{Code: iamhttp.Code(tt.status), ServiceCode: tt.code, Message: tt.message}
		assert.Equal(t, tt.want, e.Reason(), "wrong reason for service code %s and message %s", tt.code, tt.message)
	}
}

func TestReasonDoesNotAllocate(t *testing.T) {
	for _, e := range []*iamhttp.StatusError{
		{Code: 404},
		{Code: 404, ServiceCode: "APIGW.0101"},
		{Code: 401, ServiceCode: "apigw.0301", Message: "Incorrect IAM authentication information: " + strings.Repeat("A b ", 10_000)},
		{Code: 429, ServiceCode: strings.Repeat("x", 128), Message: strings.Repeat("too many ", 10_000)},
	} {
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			if e.Reason() == iamhttp.ReasonRegionFailover || e.Is(iamhttp.ReasonRegionFailover) {
				t.Error("want any reason other than ReasonRegionFailover")
			}
		}), "%.100v", e)
	}
}

func TestEveryReasonHasADistinctText(t *testing.T) {
	seen := map[string]bool{}
	for r := iamhttp.ReasonUnknown; r <= iamhttp.ReasonRegionFailover; r++ {
		assert.NotEmpty(t, r.Error())
		assert.NotContains(t, r.Error(), "Reason(")
		assert.False(t, seen[r.Error()])
		seen[r.Error()] = true
	}
	assert.EqualError(t, iamhttp.ReasonRegionFailover+1, "Reason(13)", "ReasonRegionFailover must be the last constant")
	assert.EqualError(t, iamhttp.Reason(200), "Reason(200)")
}

// The names of the constants, and the advice in their comments, come from reason.go.
func TestReasonTablesInStatusCodesMdMatchTheCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.ParseComments)
	require.NoError(t, err)
	var names, advice []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Reason") {
			require.NotNil(t, v.Comment, "%s has no comment", v.Names[0].Name)
			names = append(names, "`"+v.Names[0].Name+"`")
			advice = append(advice, strings.TrimSpace(v.Comment.Text()))
		}
		return true
	})
	require.Len(t, names, int(iamhttp.ReasonRegionFailover)+1)
	for r := iamhttp.ReasonUnknown + 1; int(r) < len(names); r++ {
		assert.Equal(t, "`reason"+strings.ReplaceAll(strings.ToLower(r.Error()), " ", "")+"`", strings.ToLower(names[r]), "examples/explain needs the text of a reason to match its name")
	}

	var table strings.Builder
	table.WriteString("| reason | constant | what it means, or what to do |\n|---|---|---|\n")
	for r := iamhttp.ReasonUnknown + 1; int(r) < len(names); r++ {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", r.Error(), names[r], advice[r])
	}
	isInStatusCodes(t, "reasons", table.String())

	table.Reset()
	table.WriteString("| code | status | what has happened | reason |\n|---|---|---|---|\n")
	for _, m := range reasons.Meanings {
		code, reason := m.Code, iamhttp.Reason(m.Reason).Error()
		if number, ok := strings.CutPrefix(code, "APIG."); ok {
			code += ", APIGW." + number
		}
		if len(m.Texts) > 0 {
			if reason = "depends on the message"; m.Reason != reasons.Unknown {
				reason += "; without one, " + iamhttp.Reason(m.Reason).Error()
			}
		}
		fmt.Fprintf(&table, "| %s | %d | %s | %s |\n", code, m.Status, m.Says, reason)
	}
	isInStatusCodes(t, "service codes", table.String())

	table.Reset()
	table.WriteString("| with | a message such as | reason |\n|---|---|---|\n")
	var with []string // the codes or statuses that go with each text
	var texts []reasons.Text
	add := func(where string, more []reasons.Text) {
		for _, text := range more {
			if i := slices.IndexFunc(texts, func(other reasons.Text) bool { return other.Example == text.Example }); i >= 0 {
				with[i] += ", " + where
			} else {
				with, texts = append(with, where), append(texts, text)
			}
		}
	}
	for _, m := range reasons.Meanings {
		add(m.Code, m.Texts)
	}
	for status := 400; status < 600; status++ {
		add(strconv.Itoa(status), reasons.Uncoded(status))
	}
	for i, text := range texts {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", with[i], text.Example, iamhttp.Reason(text.Reason).Error())
	}
	isInStatusCodes(t, "messages", table.String())
}

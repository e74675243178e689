package iamhuaweicloud_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/region"
	iam "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamhuaweicloud"
	"github.com/iamhttp/iamhttp/iamtest"
)

const (
	plantedSecret = "planted-secret-key"
	plantedToken  = "planted-security-token"
)

// gateway returns a server that knows only the planted access key, and whose clock is
// ahead by the given time.
func gateway(ahead time.Duration, first ...iamtest.Answer) *iamtest.Server {
	s := &iamtest.Server{Ahead: ahead, Keys: func(accessKey, securityToken string) (string, bool) {
		return plantedSecret, accessKey == "PLANTEDAK" && (securityToken == "" || securityToken == plantedToken)
	}}
	s.Next(first...)
	s.On("GET /v3/users", iamtest.Answer{Body: `{"users":[],"links":{}}`})
	s.On("POST /v3/users", iamtest.Answer{Status: 201, Body: alice})
	return s
}

// signing returns credentials of several kinds, by name. With the one named derived, the
// SDK creates derived signatures; with the others, plain ones.
func signing(t *testing.T) map[string]auth.ICredential {
	t.Helper()
	b, err := basic.NewCredentialsBuilder().WithAk("PLANTEDAK").WithSk(plantedSecret).WithProjectId("project").SafeBuild()
	require.NoError(t, err)
	g, err := global.NewCredentialsBuilder().WithAk("PLANTEDAK").WithSk(plantedSecret).WithDomainId("domain").SafeBuild()
	require.NoError(t, err)
	temporary, err := global.NewCredentialsBuilder().WithAk("PLANTEDAK").WithSk(plantedSecret).WithSecurityToken(plantedToken).WithDomainId("domain").SafeBuild()
	require.NoError(t, err)
	derived, err := basic.NewCredentialsBuilder().WithAk("PLANTEDAK").WithSk(plantedSecret).WithProjectId("project").
		WithDerivedPredicate(auth.GetDefaultDerivedPredicate()).SafeBuild()
	require.NoError(t, err)
	return map[string]auth.ICredential{"basic": b, "global": g, "with a security token": temporary, "derived": derived}
}

// client returns a client whose calls time out after two hours, and whose Transport can
// wait longer than a signature is valid. If signed is true, there is a signer below the
// Transport.
func client(t *testing.T, s *iamtest.Server, c auth.ICredential, signed bool) *iam.IamClient {
	t.Helper()
	settings := config.DefaultHttpConfig().WithTimeout(2 * time.Hour)
	tr := &iamhttp.Transport{Base: s, SignatureLife: -1}
	b := iam.IamClientBuilder().WithDerivedAuthServiceName("iam")
	if signed {
		iamhuaweicloud.Configure(b, settings, tr, c)
	} else {
		iamhuaweicloud.Configure(b, settings, tr).WithCredential(c)
	}
	hc, err := b.WithRegion(region.NewRegion("eu-de", "https://iam.example")).SafeBuild()
	require.NoError(t, err)
	return iam.NewIamClient(hc)
}

func TestWithTheSignerNoSDKCallFailsBecauseOfItsSignature(t *testing.T) {
	long, name := iamtest.Throttled(10*time.Minute), "bob & alice"
	for situation, tt := range map[string]struct {
		ahead time.Duration
		first []iamtest.Answer
		sent  int
		lost  bool // whether the call fails without the signer
	}{
		"an immediate response":                    {0, nil, 1, false},
		"throttled for a short time":               {0, []iamtest.Answer{iamtest.Throttled(30 * time.Second)}, 2, false},
		"throttled until the signature is too old": {0, []iamtest.Answer{long, long}, 3, true},
		"a clock that is behind":                   {20 * time.Minute, nil, 2, true},
		"a clock that is ahead":                    {-20 * time.Minute, nil, 2, true},
		"a clock that is ahead, and throttled until the signature is too old": {-20 * time.Minute, []iamtest.Answer{long, long}, 4, true},
	} {
		for form, c := range signing(t) {
			for call, f := range map[string]func(*iam.IamClient) error{
				"list": func(c *iam.IamClient) error {
					_, err := c.KeystoneListUsers(&model.KeystoneListUsersRequest{Name: &name})
					return err
				},
				"create": create,
			} {
				t.Run(situation+"/"+form+"/"+call, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := gateway(tt.ahead, tt.first...)
						assert.NoError(t, f(client(t, s, c, true)))
						s.AssertCount(t, tt.sent)
					})
					synctest.Test(t, func(t *testing.T) {
						err := f(client(t, gateway(tt.ahead, tt.first...), c, false))
						if !tt.lost {
							assert.NoError(t, err)
							return
						}
						assert.ErrorIs(t, err, iamhttp.ErrUnauthorized)
						assert.ErrorIs(t, err, iamhttp.ReasonClockSkew)
					})
				})
			}
		}
	}
}

func TestWithoutTheSignerACallEndsIfTheWaitWouldOutliveItsSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last iamhttp.Failure
		s := gateway(0, iamtest.Throttled(20*time.Minute))
		tr := &iamhttp.Transport{Base: s, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
		c := signing(t)["global"]
		settings := config.DefaultHttpConfig().WithTimeout(2 * time.Hour)
		hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), settings, tr).WithCredential(c).WithEndpoint("https://iam.example").SafeBuild()
		require.NoError(t, err)
		began := time.Now()
		assert.ErrorIs(t, create(iam.NewIamClient(hc)), iamhttp.ErrTooManyRequests)
		assert.Zero(t, time.Since(began))
		assert.Equal(t, iamhttp.StopSignature, last.Stop)
	})
}

func TestClientsThatShareATransportSignWithTheirOwnKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: func(accessKey, _ string) (string, bool) { return "secret of " + accessKey, true }}
		s.Next(iamtest.Throttled(20*time.Minute), iamtest.Throttled(20*time.Minute))
		s.On("/", iamtest.Answer{Status: 201, Body: alice})
		tr := &iamhttp.Transport{Base: s}
		for _, key := range []string{"A", "B"} {
			c, err := global.NewCredentialsBuilder().WithAk(key).WithSk("secret of " + key).WithDomainId("domain").SafeBuild()
			require.NoError(t, err)
			hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), config.DefaultHttpConfig().WithTimeout(time.Hour), tr, c).
				WithEndpoint("https://iam.example").SafeBuild()
			require.NoError(t, err)
			assert.NoError(t, create(iam.NewIamClient(hc)))
		}
		for _, v := range []any{tr, tr.Base} {
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", v, v, v), "secret of")
		}
		keys := []string{}
		for _, r := range s.Requests() {
			_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Access=")
			keys = append(keys, rest[:1])
		}
		assert.Equal(t, []string{"A", "A", "A", "B"}, keys)
	})
}

func TestThereIsNoSignerForANilCredentialOrOneThatTheSDKRefreshes(t *testing.T) {
	c, err := global.NewCredentialsBuilder().WithDomainId("domain").WithIdpId("idp").WithIdTokenFile("file").SafeBuild()
	require.NoError(t, err)
	tr := &iamhttp.Transport{Base: gateway(0)}
	iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, tr, c)
	assert.IsType(t, new(iamtest.Server), tr.Base)
	iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, tr, nil)
	assert.IsType(t, new(iamtest.Server), tr.Base)
}

package iamsdk_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

var locked = iamtest.Keystone(401, "The account is locked.")

func TestALoginThatIsRefusedSoonAfterTwo401sEndsTheCall(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		_, err := sdk.Request("GET", "/groups", "")
		require.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		service.On("POST /v3/auth/tokens", locked)
		for range 3 {
			_, err = sdk.Request("GET", "/groups", "")
			assert.NotErrorIs(t, err, errHangs)
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		}
	})
}

func TestALoginThatIsRefusedAfterThatOfAnotherCallerEndsTheCall(t *testing.T) {
	for callers := 2; callers <= 4; callers++ {
		t.Run(strconv.Itoa(callers)+" callers", func(t *testing.T) {
			eachKind(t, func(t *testing.T, k kind) {
				service := newAccount()
				sdk := k.connect(t, service, nil)
				service.expire()
				var logins []iamtest.Answer
				for i := range callers - 1 {
					logins = append(logins, iamtest.Answer{Status: 201, Delay: time.Second}.With("X-Subject-Token", service.token(int32(i+2))))
				}
				service.On("POST /v3/auth/tokens", append(logins, locked)...)
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond) // all but the first without a token
						_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
						assert.NotErrorIs(t, err, errHangs)
					})
				}
				wg.Wait()
			})
		})
	}
}

package e2e

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamgophercloud"
)

// stack logs in at the URL front with gophercloud and the adapter. It sets the client's
// endpoint to front, because the catalog contains Keystone's own URL.
func stack(t *testing.T, front string, tr *iamhttp.Transport, password string) (*gophercloud.ServiceClient, error) {
	t.Helper()
	p, err := openstack.NewClient(front + "/v3")
	require.NoError(t, err)
	if tr == nil {
		tr = new(iamhttp.Transport)
	}
	client(t, tr)
	iamgophercloud.Configure(p, tr)
	err = openstack.Authenticate(t.Context(), p, gophercloud.AuthOptions{
		IdentityEndpoint: front + "/v3", Username: "admin", Password: password, DomainName: "Default", AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: "admin", DomainName: "Default"},
	})
	if err != nil {
		return nil, err
	}
	c, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	c.Endpoint = front + "/v3/"
	return c, nil
}

// both asserts that err contains gophercloud's error and the *StatusError.
func both(t *testing.T, err error, code int, message string) {
	t.Helper()
	assert.True(t, gophercloud.ResponseCodeIs(err, code), "want gophercloud's error for %d, got %v", code, err)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	require.True(t, ok, "no *StatusError in %v", err)
	assert.Equal(t, iamhttp.Code(code), e.Code)
	assert.Contains(t, e.Message, message)
	assert.Regexp(t, "^req-", e.RequestID)
}

func TestGophercloudWorksUnchangedAndItsErrorsAreTyped(t *testing.T) {
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			ctx, url := t.Context(), at(t, front)
			c, err := stack(t, url, nil, adminPassword)
			require.NoError(t, err)

			project, err := projects.Create(ctx, c, projects.CreateOpts{Name: unique("project")}).Extract()
			require.NoError(t, err)
			t.Cleanup(func() { projects.Delete(context.Background(), c, project.ID) })
			user, err := users.Create(ctx, c, users.CreateOpts{Name: unique("user"), Password: "p", DefaultProjectID: project.ID}).Extract()
			require.NoError(t, err)
			t.Cleanup(func() { users.Delete(context.Background(), c, user.ID) })
			group, err := groups.Create(ctx, c, groups.CreateOpts{Name: unique("group")}).Extract()
			require.NoError(t, err)
			t.Cleanup(func() { groups.Delete(context.Background(), c, group.ID) })

			member, err := users.IsMemberOfGroup(ctx, c, group.ID, user.ID).Extract()
			require.NoError(t, err, "IsMemberOfGroup must treat the 404 as a result")
			assert.False(t, member)
			require.NoError(t, users.AddToGroup(ctx, c, group.ID, user.ID).ExtractErr())
			member, err = users.IsMemberOfGroup(ctx, c, group.ID, user.ID).Extract()
			require.NoError(t, err)
			assert.True(t, member)

			pages, err := roles.List(c, roles.ListOpts{Name: "member"}).AllPages(ctx)
			require.NoError(t, err)
			found, err := roles.ExtractRoles(pages)
			require.NoError(t, err)
			require.NotEmpty(t, found)
			require.NoError(t, roles.Assign(ctx, c, found[0].ID, roles.AssignOpts{UserID: user.ID, ProjectID: project.ID}).ExtractErr())

			valid, err := tokens.Validate(ctx, c, "not-a-token")
			require.NoError(t, err, "Validate must treat the 404 as a result")
			assert.False(t, valid)

			_, err = users.Create(ctx, c, users.CreateOpts{Name: user.Name}).Extract()
			both(t, err, 409, "Duplicate entry found with name "+user.Name)
			_, err = users.Get(ctx, c, nobodysID).Extract()
			both(t, err, 404, "Could not find user")

			_, err = stack(t, url, nil, "wrong")
			both(t, err, 401, "requires authentication")
		})
	}
}

func TestGophercloudRenewsARevokedTokenOnce(t *testing.T) {
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			tr := new(iamhttp.Transport)
			reports := reporting(tr)
			c, err := stack(t, at(t, front), tr, adminPassword)
			require.NoError(t, err)
			require.NoError(t, tokens.Revoke(t.Context(), c, c.Token()).Err)
			before := c.Token()
			pages, err := users.List(c, nil).AllPages(t.Context())
			require.NoError(t, err)
			empty, err := pages.IsEmpty()
			require.NoError(t, err)
			assert.False(t, empty)
			assert.NotEqual(t, before, c.Token())
			if assert.Len(t, *reports, 1, "Keystone must reject the revoked token exactly once") {
				assert.Equal(t, iamhttp.ErrUnauthorized, code((*reports)[0]))
			}
		})
	}
}

func TestGophercloudWaitsForTheRateLimiterAndSucceeds(t *testing.T) {
	for name, front := range map[string]int{"nginx": nginxLimited, "HAProxy": haproxyLimited} {
		t.Run(name, func(t *testing.T) {
			var throttled atomic.Int32
			c, err := stack(t, at(t, front), &iamhttp.Transport{OnFailure: func(_ context.Context, f iamhttp.Failure) {
				throttled.Add(1)
				assert.Equal(t, iamhttp.ErrTooManyRequests, code(f))
				assert.True(t, f.Retry)
				assert.GreaterOrEqual(t, f.Wait, time.Second)
			}}, adminPassword)
			require.NoError(t, err)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					_, err := projects.List(c, nil).AllPages(t.Context())
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			assert.Positive(t, throttled.Load(), "no request was throttled")
		})
	}
}

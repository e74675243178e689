package iamgophercloud_test

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/iamhttp/iamhttp"
	iamgophercloud "github.com/iamhttp/iamhttp/adapters/iamgophercloud"
)

// deleteUser needs a cloud: it takes the account from the OS_* variables. The
// error that it returns wraps gophercloud's error and the typed error.
func deleteUser(ctx context.Context, id string) error {
	options, err := openstack.AuthOptionsFromEnv()
	if err != nil {
		return err
	}
	provider, err := openstack.NewClient(options.IdentityEndpoint)
	if err != nil {
		return err
	}
	iamgophercloud.Configure(provider, nil)
	if err := openstack.Authenticate(ctx, provider, options); err != nil {
		return err
	}
	identity, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{})
	if err != nil {
		return err
	}
	ctx, rec := iamhttp.WithRecorder(ctx)
	return rec.Wrap(users.Delete(ctx, identity, id).ExtractErr())
}

package iamhuaweicloud_test

import (
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	iam "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3/model"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamhuaweicloud"
	"github.com/iamhttp/iamhttp/iamtest"
)

// deleteUser shows how a program that uses the SDK gets the typed error.
func deleteUser(endpoint, ak, sk, domain, id string) error {
	credentials, err := global.NewCredentialsBuilder().WithAk(ak).WithSk(sk).WithDomainId(domain).SafeBuild()
	if err != nil {
		return err
	}
	hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, nil, credentials).
		WithEndpoint(endpoint).
		SafeBuild()
	if err != nil {
		return iamhuaweicloud.Wrap(err)
	}
	_, err = iam.NewIamClient(hc).KeystoneDeleteUser(&model.KeystoneDeleteUserRequest{UserId: id})
	return err
}

// deleteAgain shows how a program keeps the SDK's own errors, and uses the typed error in
// one place.
func deleteAgain(endpoint string, credentials auth.ICredential, id string) error {
	builder := iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, nil).
		WithErrorHandler(sdkerr.DefaultErrorHandler{})
	hc, err := builder.WithEndpoint(endpoint).WithCredential(credentials).SafeBuild()
	if err != nil {
		return err
	}
	_, err = iam.NewIamClient(hc).KeystoneDeleteUser(&model.KeystoneDeleteUserRequest{UserId: id})
	if errors.Is(iamhuaweicloud.Wrap(err), iamhttp.ErrNotFound) {
		return nil // it is gone already
	}
	return err
}

func Example() {
	service := httptest.NewServer(iamtest.Keystone(404, "Could not find user: bob.").With("X-Openstack-Request-Id", "req-42"))
	defer service.Close()

	err := deleteUser(service.URL, "ak", "sk", "domain", "bob")
	fmt.Println(err)
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	var own *sdkerr.ServiceResponseError
	if errors.As(err, &own) {
		fmt.Println(own.StatusCode, own.ErrorMessage)
	}

	credentials := &global.Credentials{DomainId: "domain"}
	credentials.AK, credentials.SK = "ak", "sk"
	fmt.Println(deleteAgain(service.URL, credentials, "bob"))
	// Output:
	// iamhttp: 404 NotFound: "Could not find user: bob." (request req-42, sent once)
	// true
	// 404 {"error":{"code":404,"message":"Could not find user: bob.","title":"Not Found"}}
	// <nil>
}

// Command iamhuaweicloud uses module iamhuaweicloud.
package main

import (
	"errors"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/def"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamhuaweicloud"
)

func main() {
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	credentials, err := global.NewCredentialsBuilder().WithAk("ak").WithSk("sk").WithDomainId("domain").SafeBuild()
	if err != nil {
		log.Fatal(err)
	}
	client, err := iamhuaweicloud.Configure(core.NewHcHttpClientBuilder(), nil, nil).
		WithCredentialsType("global.Credentials").
		WithEndpoints([]string{service.URL}).
		WithCredential(credentials).
		SafeBuild()
	if err != nil {
		log.Fatal(err)
	}
	request := def.NewHttpRequestDefBuilder().WithMethod(http.MethodGet).WithPath("/v3/users").WithResponse(new(struct{})).Build()
	_, err = client.Sync(new(struct{}), request)
	if !errors.Is(err, iamhttp.ErrNotFound) {
		log.Fatalf("got %v; want ErrNotFound", err)
	}
}

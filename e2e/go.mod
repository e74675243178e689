module github.com/iamhttp/iamhttp/e2e

go 1.25.0

replace (
	github.com/iamhttp/iamhttp => ../
	github.com/iamhttp/iamhttp/adapters/iamgophercloud => ../adapters/iamgophercloud
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0
	github.com/gophercloud/gophercloud/v2 v2.16.0
	github.com/iamhttp/iamhttp v0.0.0
	github.com/iamhttp/iamhttp/adapters/iamgophercloud v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// fromEnvironment returns where the real service is and how to log in there, or
// an empty endpoint if none is set. Variables that are set to nothing count as
// not set.
func fromEnvironment(getenv func(string) string) (endpoint string, as credentials, err error) {
	var set, missing []string
	for _, name := range []string{"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"} {
		if getenv(name) != "" {
			set = append(set, name)
		} else {
			missing = append(missing, name)
		}
	}
	if len(set) == 0 {
		return "", credentials{}, nil
	}
	if len(missing) > 0 {
		return "", credentials{}, fmt.Errorf("%s set, but not %s; set all four for a real service, or none of them",
			strings.Join(set, ", "), strings.Join(missing, ", "))
	}
	endpoint, err = endpointOf(getenv("OS_AUTH_URL"))
	if err != nil {
		return "", credentials{}, err
	}
	return endpoint, credentials{
		userName:      getenv("OS_USERNAME"),
		password:      getenv("OS_PASSWORD"),
		userDomain:    cmp.Or(getenv("OS_USER_DOMAIN_NAME"), "Default"),
		project:       getenv("OS_PROJECT_NAME"),
		projectDomain: cmp.Or(getenv("OS_PROJECT_DOMAIN_NAME"), "Default"),
	}, nil
}

// endpointOf returns the address of version 3 of the API; OS_AUTH_URL is in use
// with and without it.
func endpointOf(authURL string) (string, error) {
	u, err := url.Parse(authURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The value is not shown: it may hold a password.
		return "", errors.New("OS_AUTH_URL must look like https://iam.example.com/v3")
	}
	endpoint := strings.TrimRight(u.String(), "/")
	if !strings.HasSuffix(endpoint, "/v3") {
		endpoint += "/v3"
	}
	return endpoint, nil
}

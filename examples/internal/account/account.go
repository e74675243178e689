// Package account provides the account that the examples use to log in to a real service.
// It reads the account from the OS_* environment variables, which OpenStack's own tools
// also use.
package account

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Settings is the part of a program's help that explains the OS_* variables.
const Settings = `  OS_AUTH_URL             the address, such as https://iam.example.com/v3
  OS_USERNAME             a user with administrator rights
  OS_PASSWORD             that user's password
  OS_PROJECT_NAME         the project to log in to
  OS_USER_DOMAIN_NAME     the user's domain ("Default" if not set)
  OS_PROJECT_DOMAIN_NAME  the project's domain ("Default" if not set)
`

// An Account holds the credentials for a password login. Never print an Account.
type Account struct {
	UserName, Password, UserDomain string
	Project, ProjectDomain         string
}

// Auth returns the body of POST /auth/tokens, to be encoded as JSON.
func (a Account) Auth() any {
	type object = map[string]any
	return object{"auth": object{
		"identity": object{
			"methods": []string{"password"},
			"password": object{"user": object{
				"name":     a.UserName,
				"password": a.Password,
				"domain":   object{"name": a.UserDomain},
			}},
		},
		"scope": object{"project": object{
			"name":   a.Project,
			"domain": object{"name": a.ProjectDomain},
		}},
	}}
}

// FromEnvironment returns the endpoint of the real service and the account to log in
// with. If none of the four required variables is set, the endpoint is empty. If only
// some are set, or if OS_AUTH_URL is invalid, FromEnvironment returns an error. An empty
// variable counts as not set.
func FromEnvironment(getenv func(string) string) (endpoint string, a Account, err error) {
	var set, missing []string
	for _, name := range []string{"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"} {
		if getenv(name) != "" {
			set = append(set, name)
		} else {
			missing = append(missing, name)
		}
	}
	if len(set) == 0 {
		return "", Account{}, nil
	}
	if len(missing) > 0 {
		return "", Account{}, fmt.Errorf("%s set, but not %s; to use a real service, set all four, otherwise none",
			strings.Join(set, ", "), strings.Join(missing, ", "))
	}
	endpoint, err = endpointOf(getenv("OS_AUTH_URL"))
	if err != nil {
		return "", Account{}, err
	}
	return endpoint, Account{
		UserName:      getenv("OS_USERNAME"),
		Password:      getenv("OS_PASSWORD"),
		UserDomain:    cmp.Or(getenv("OS_USER_DOMAIN_NAME"), "Default"),
		Project:       getenv("OS_PROJECT_NAME"),
		ProjectDomain: cmp.Or(getenv("OS_PROJECT_DOMAIN_NAME"), "Default"),
	}, nil
}

// endpointOf returns the address of version 3 of the API. The version at the end of
// OS_AUTH_URL is optional.
func endpointOf(authURL string) (string, error) {
	u, err := url.Parse(authURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The value is not shown, because it may contain a password.
		return "", errors.New("OS_AUTH_URL must look like https://iam.example.com/v3")
	}
	endpoint := strings.TrimRight(u.String(), "/")
	if !strings.HasSuffix(endpoint, "/v3") {
		endpoint += "/v3"
	}
	return endpoint, nil
}

package iamhuaweicloud

import (
	"net/http"
	"slices"
	"sync"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
)

// A signer signs the attempts of all clients that share a Transport. The access key
// that a request was signed with identifies its credential.
type signer struct {
	aksk.Transport

	mu  sync.Mutex
	all []func() aksk.Credentials // the credentials are in functions, because reflection does not print what a function holds
}

// signWith adds a credential to the signer below t. If there is no signer yet, signWith
// puts one there. It ignores credentials that the SDK refreshes, and those that are not
// access keys.
func signWith(t *iamhttp.Transport, credential auth.ICredential) {
	var base *auth.BaseCredentials
	switch c := credential.(type) {
	case *auth.BasicCredentials:
		base = &c.BaseCredentials
	case *auth.GlobalCredentials:
		base = &c.BaseCredentials
	default:
		return
	}
	if base.StsAccessor != nil {
		return // the SDK updates the keys without a lock
	}
	s, ok := t.Base.(*signer)
	if !ok {
		s = &signer{Transport: aksk.Transport{Base: t.Base}}
		s.Credentials = s.credentials
		t.Base = s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := aksk.Credentials{AccessKey: base.AK, SecretKey: base.SK, SecurityToken: base.SecurityToken}
	// A program may create a client for each job, always with the same credential, so
	// keep each access key only once.
	s.all = slices.DeleteFunc(s.all, func(known func() aksk.Credentials) bool { return known().AccessKey == keys.AccessKey })
	s.all = append(s.all, func() aksk.Credentials { return keys })
}

// credentials returns the keys that belong to the access key of a request's signature, or
// the zero Credentials if the access key is unknown.
func (s *signer) credentials(req *http.Request) (aksk.Credentials, error) {
	accessKey := aksk.AccessKey(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.all {
		if c := known(); c.AccessKey == accessKey {
			return c, nil
		}
	}
	return aksk.Credentials{}, nil
}

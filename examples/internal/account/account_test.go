package account

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAuthURLIsCheckedAndMayOmitTheVersion(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:5000":             "http://127.0.0.1:5000/v3",
		"http://127.0.0.1:5000/v3/":         "http://127.0.0.1:5000/v3",
		"https://iam.example.com/identity/": "https://iam.example.com/identity/v3",
	} {
		got, err := endpointOf(in)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, in := range []string{"iam.example.com", "ftp://iam.example.com", "https://", "https://:443", "https://me:pw@iam.example.com", "%zz"} {
		_, err := endpointOf(in)
		assert.EqualError(t, err, "OS_AUTH_URL must look like https://iam.example.com/v3")
	}
}

package aksk

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Credentials are an access key of Open Telekom Cloud or Huawei Cloud. A temporary
// one has a SecurityToken too, which is sent along. The zero value stands for none.
//
// Printing, logging or marshaling Credentials shows none of the three. Package fmt
// asks no method of what is in an unexported field of another struct, so do not
// print structs of yours that hold Credentials there.
type Credentials struct {
	AccessKey     string
	SecretKey     string
	SecurityToken string // empty: the access key is permanent
}

const hidden = "aksk.Credentials"

// Format writes the name of the type, whatever the verb.
func (c Credentials) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(hidden)) }

// MarshalText returns the name of the type, for JSON, XML and YAML.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// GobEncode returns the name of the type.
func (c Credentials) GobEncode() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns the name of the type.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(hidden) }

// usable returns an error if c cannot sign. The text of the error shows nothing of c.
func (c Credentials) usable() error {
	switch {
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("aksk: the credentials have no access key, or no secret key")
	case strings.ContainsFunc(c.AccessKey, notInHeader) || strings.ContainsAny(c.AccessKey, ",/ ") ||
		strings.ContainsFunc(c.SecurityToken, notInHeader):
		return errors.New("aksk: the access key or the security token has characters that no header can have")
	}
	return nil
}

func notInHeader(r rune) bool { return r < ' ' || r > '~' }

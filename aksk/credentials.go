package aksk

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Credentials holds an access key for Open Telekom Cloud or Huawei Cloud. Temporary
// credentials also have a SecurityToken, which is sent with each request. The zero value
// means no credentials.
//
// Printing, logging or marshaling Credentials shows none of the three fields, with three
// exceptions. Package fmt does not call methods for the verbs %p and %w (go vet reports
// both), and not on values in unexported fields: do not print a struct that holds
// Credentials in such a field. And testing libraries print differences by reflection, so
// compare with ==.
type Credentials struct {
	AccessKey     string
	SecretKey     string
	SecurityToken string // empty if the access key is permanent
}

const hidden = "aksk.Credentials"

// Format writes the type's name. Package fmt calls Format for all verbs except %p, %T and
// %w.
func (c Credentials) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(hidden)) }

// MarshalText returns the type's name, for JSON, XML and YAML.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// GobEncode returns the type's name.
func (c Credentials) GobEncode() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns the type's name.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(hidden) }

// usable returns an error if c cannot be used to sign. The error contains no part of c.
func (c Credentials) usable() error {
	switch {
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("aksk: the credentials have no access key or no secret key")
	case strings.ContainsFunc(c.AccessKey, notInHeader) || strings.ContainsAny(c.AccessKey, ",/ ") ||
		strings.ContainsFunc(c.SecurityToken, notInHeader):
		return errors.New("aksk: the access key or the security token contains invalid characters")
	}
	return nil
}

func notInHeader(r rune) bool { return r < ' ' || r > '~' }

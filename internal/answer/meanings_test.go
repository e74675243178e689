package answer_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestEveryMeaningHasATestInTheRootAndEveryExampleYieldsItsReason(t *testing.T) {
	source, err := os.ReadFile("../../reason_test.go")
	require.NoError(t, err)
	for i, m := range answer.Meanings {
		assert.Contains(t, string(source), fmt.Sprintf("{%d, %q, ", m.Status, m.Code))
		assert.NotEmpty(t, m.Says)
		if i > 0 {
			assert.Less(t, answer.Meanings[i-1].Code, m.Code, "Meanings must be sorted for the binary search")
		}
	}
	for status := 400; status < 600; status++ {
		for _, text := range answer.Uncoded(status) {
			assert.Equal(t, text.Reason, answer.ReasonOf(status, "", text.Example), text.Example)
		}
	}
	for _, m := range answer.Meanings {
		for _, text := range m.Texts {
			assert.Equal(t, text.Reason, answer.ReasonOf(m.Status, m.Code, text.Example), text.Example)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add(401, "APIG.0301", "verify aksk signature fail,canonicalRequest:GET|/||")
	f.Add(429, "", "The account is locked.")
	f.Add(409, "IAM.0005", "\xff|* ")
	f.Fuzz(func(t *testing.T, status int, code, message string) {
		r := answer.ReasonOf(status, code, message)
		if r.String() == "" {
			t.Fatalf("reason %d has no text", r)
		}
		if again := answer.ReasonOf(status, strings.ToUpper(code), strings.ToUpper(message)); again != r && isASCII(code+message) {
			t.Fatalf("got %v for the same code and message in upper case, want %v", again, r)
		}
		if far := answer.ReasonOf(status, code, message+strings.Repeat(" ", 512)+"The account is locked."); far != r {
			t.Fatalf("a lock message after the first 512 bytes changed the reason: got %v, want %v", far, r)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

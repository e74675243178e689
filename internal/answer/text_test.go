package answer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestOneLineRemovesControlAndInvisibleCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"No such user.":            "No such user.",
		"  spaces  around ":        "spaces  around",
		"Zugriff verweigert: ü":    "Zugriff verweigert: ü",
		"one\ntwo\r\nthree\tfour":  "one two three four",
		"one\u2028two\u2029\u0085": "one two",
		"\x1b[2Jred\x07\x00":       "[2Jred",
		"right \u202eto left":      "right to left",
		"\ufeffno\u200b\u00adne":   "none",
		"cut of\xc3":               "cut of\ufffd",
		"\xff\xfe":                 "\ufffd",
		"\xff\x00\xfe \xff":        "\ufffd\ufffd \ufffd",
		"\ufffd\ufffd":             "\ufffd\ufffd",
		"a \x00\u2028 b":           "a b",
		" \n\x00\t ":               "",
	} {
		assert.Equal(t, want, answer.OneLine(text), "%q", text)
	}
}

func TestOneLineAllocatesAtMostOnce(t *testing.T) {
	for _, text := range []string{"Zugriff\nverweigert: ü", " one\r\n\r\ntwo\x00 "} {
		var line string
		assert.EqualValues(t, 1, testing.AllocsPerRun(100, func() { line = answer.OneLine(text) }), text)
		assert.NotContains(t, line, "\n")
	}
}

func TestCutNeverCutsACharacterInTwo(t *testing.T) {
	for n, want := range []string{"", "a", "a", "aü", "aü", "aü", "aü", "aü😀", "aü😀"} {
		assert.Equal(t, want, answer.Cut("aü😀", n), "%d bytes", n)
	}
	assert.Empty(t, answer.Cut("\x80\x80\x80", 2), "cutting a text that has only continuation bytes must leave nothing")
}

func TestLabelReturnsOneLineOfAtMost128Bytes(t *testing.T) {
	assert.Equal(t, "IAM.0011", answer.Label(" IAM.0011\n"))
	assert.Equal(t, strings.Repeat("é", 64), answer.Label(strings.Repeat("é", 100)))
}

package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

var update = flag.Bool("update", false, "draw docs/decision.svg anew")

func TestThePictureIsTheCurrentOne(t *testing.T) {
	const file = "../../docs/decision.svg"
	if *update {
		require.NoError(t, os.WriteFile(file, draw(), 0o644))
		return
	}
	drawn, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(draw()), string(drawn), "run: go test ./internal/picture -update")
}

func TestThePictureShowsEveryReasonToStopOnce(t *testing.T) {
	picture := string(draw())
	for s := iamhttp.StopUnset + 1; !strings.HasPrefix(s.String(), "StopReason("); s++ {
		assert.Equal(t, 1, strings.Count(picture, ">"+s.String()+"<"), s)
		assert.Equal(t, 1, strings.Count(picture, ">iamhttp."+constant(s)+"<"), s)
	}
}

func TestThePictureOrdersTheReasonsAsTheyAreReported(t *testing.T) {
	for i, r := range rules {
		assert.Equal(t, iamhttp.StopUnset+1+iamhttp.StopReason(i), r.no)
	}
}

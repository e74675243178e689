package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

func TestServeRunsTheServiceAndPrintsURLsToCall(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, stdout := io.Pipe()
	ended := make(chan int)
	go func() {
		code := run(ctx, []string{"-serve"}, func(string) string { return "" }, stdout, io.Discard)
		stdout.Close()
		ended <- code
	}()
	var urls []string
	for lines := bufio.NewScanner(out); len(urls) < 2 && lines.Scan(); {
		if url := regexp.MustCompile(`^http\S+`).FindString(lines.Text()); url != "" {
			urls = append(urls, url)
		}
	}
	go io.Copy(io.Discard, out)
	require.Len(t, urls, 2)

	plain, err := http.Get(urls[0])
	require.NoError(t, err)
	plain.Body.Close()
	assert.Equal(t, 429, plain.StatusCode)
	plain, err = http.Get(urls[0])
	require.NoError(t, err)
	plain.Body.Close()
	assert.Equal(t, 200, plain.StatusCode)

	client := &http.Client{Transport: &iamhttp.Transport{}, Timeout: time.Minute}
	resp, err := client.Get(urls[0])
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	_, err = client.Get(urls[1])
	require.ErrorIs(t, err, iamhttp.ErrNotFound)
	assert.ErrorContains(t, err, "There is no user with the id bob.")

	interrupt()
	assert.Zero(t, <-ended)
}

func TestServeRefusesArguments(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := play(t.Context(), nil, "-serve", "8080")
	assert.Equal(t, 2, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, `unexpected argument "8080"`)
}

func TestDocumentsUseTheUsualAddressAndReferToThePrintedURL(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(usualAddress)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	assert.Less(t, n, 32768, "Linux uses ports from 32768 on for outgoing connections")
	for _, document := range []string{"README.md", "docs/tutorial.md"} {
		text, err := os.ReadFile("../../" + document)
		require.NoError(t, err)
		for _, want := range []string{regexp.QuoteMeta("http://" + usualAddress + "/v3/users/alice"), `URL\s+that\s+(it|the\s+service)\s+prints`} {
			assert.True(t, regexp.MustCompile(want).Match(text), "%s does not contain %s", document, want)
		}
	}
}

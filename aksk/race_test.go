//go:build race

package aksk_test

const raceDetector = true

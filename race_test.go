//go:build race

package iamhttp_test

const raceDetector = true

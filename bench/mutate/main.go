// Mutate breaks the root package in one place after the other, and tells where
// its tests do not notice.
//
//	go run ./mutate                        all files; half an hour
//	go run ./mutate -file retry.go,body.go
//	go run ./mutate -every 10              a sample
//
// It fails if a mutant survives that docs/mutation.md does not account for.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

const files = "body.go,classify.go,errors.go,log.go,reason.go,recorder.go,retry.go,transport.go"

func run() error {
	var (
		names   = flag.String("file", files, "`names` of files to break")
		every   = flag.Int("every", 1, "only one mutant of so many")
		first   = flag.Int("first", 0, "of the mutants to try")
		workers = flag.Int("workers", 5, "how many tests run at the same time")
		root    = flag.String("root", "..", "`directory` of the package")
	)
	flag.Parse()
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	known, err := os.ReadFile(filepath.Join(dir, "docs", "mutation.md"))
	if err != nil {
		return err
	}
	var all []mutant
	for name := range strings.SplitSeq(*names, ",") {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		of, err := mutants(name, source)
		if err != nil {
			return err
		}
		all = append(all, of...)
	}
	if out, err := test(dir, nil); err != nil {
		return fmt.Errorf("unbroken, the tests fail: %w\n%s", err, out)
	}

	start := time.Now()
	var (
		mu                              sync.Mutex
		killed, invalid, listed, failed int
		survivors                       []string
		wg                              sync.WaitGroup
		queue                           = make(chan mutant)
	)
	for range *workers {
		wg.Go(func() {
			for m := range queue {
				out, err := test(dir, &m)
				mu.Lock()
				switch {
				case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
					invalid++
				case err != nil && errors.As(err, new(*exec.ExitError)):
					killed++
				case err != nil:
					failed++
					fmt.Println(err)
				case strings.Contains(string(known), "| `"+strings.ReplaceAll(m.String(), "|", `\|`)+"` |"):
					listed++
				default:
					survivors = append(survivors, m.String())
					fmt.Printf("survives: line %d, `%v`\n", m.line, m)
				}
				mu.Unlock()
			}
		})
	}
	for i, m := range all[min(*first, len(all)):] {
		if i%*every == 0 {
			queue <- m
		}
	}
	close(queue)
	wg.Wait()
	fmt.Printf("of %d mutants %d killed, %d survive as docs/mutation.md says, %d survive, %d did not compile; in %v\n",
		len(all), killed, listed, len(survivors), invalid, time.Since(start).Round(time.Second))
	if failed > 0 || len(survivors) > 0 {
		slices.Sort(survivors)
		return fmt.Errorf("%d mutants survive, %d could not be tried", len(survivors), failed)
	}
	return nil
}

// skipped are tests that take long and look at the whole, where a mutant would
// be noticed by chance.
const skipped = "^(TestSoak|TestAMillionAccounts.*|TestAHundredThousandLies.*|TestTenThousand.*)$"

// test runs the tests with the file of m replaced, which stays as it is.
func test(dir string, m *mutant) ([]byte, error) {
	args := []string{"test", "-count=1", "-failfast", "-vet=off", "-timeout=30s", "-ldflags=-s -w", "-skip=" + skipped}
	if m != nil {
		tmp, err := os.MkdirTemp("", "mutant")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(tmp)
		source, overlay := filepath.Join(tmp, m.file), filepath.Join(tmp, "overlay.json")
		list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(dir, m.file): source}})
		if err := errors.Join(err, os.WriteFile(source, m.source, 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
			return nil, err
		}
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

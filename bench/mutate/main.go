// Mutate breaks the module in one place after the other, and tells where its
// tests do not notice.
//
//	go run ./mutate                        all files; hours
//	go run ./mutate -file retry.go,body.go
//	go run ./mutate -every 10              a sample
//
// It fails if a mutant survives that docs/mutation.md does not account for.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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

const files = "adaptive.go,body.go,classify.go,errors.go,fleet.go,gate.go,log.go,reason.go,recorder.go,retry.go,transport.go," +
	"internal/bracket/bracket.go,internal/bracket/judge.go,internal/bracket/learned.go"

func run() error {
	var (
		names   = flag.String("file", files, "`names` of files to break")
		every   = flag.Int("every", 1, "only one mutant of so many")
		first   = flag.Int("first", 0, "of the mutants to try")
		workers = flag.Int("workers", 3, "how many tests run at the same time")
		root    = flag.String("root", "..", "`directory` of the module")
	)
	flag.Parse()
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	listed, err := reasons(filepath.Join(dir, "docs", "mutation.md"))
	if err != nil {
		return err
	}
	var all []mutant
	for name := range strings.SplitSeq(*names, ",") {
		source, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		of, err := mutants(name, source)
		if err != nil {
			return err
		}
		all = append(all, of...)
	}
	start := time.Now()
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var of []suite
	for _, m := range all {
		for _, s := range suites(m.file) {
			if !slices.Contains(of, s) {
				of = append(of, s)
			}
		}
	}
	broken, err := compile(dir, tmp, all, of)
	if err != nil {
		return err
	}
	for _, s := range of {
		if v, out, err := s.run(dir, tmp, 0); err != nil || v != survives {
			return fmt.Errorf("unbroken, the tests of %s fail: %v\n%s", s.pkg, err, out)
		}
	}
	fmt.Printf("compiled in %v\n", time.Since(start).Round(time.Second))

	var (
		mu        sync.Mutex
		count     = map[verdict]int{}
		late      []int // whose tests took too long: perhaps for want of a processor
		survivors []string
		accounted = map[string]bool{} // the listed ones that survive
		failed    int
	)
	take := func(i int, again bool) {
		m, v, err := all[i], invalid, error(nil)
		if !broken[i] {
			v, err = try(dir, tmp, m.file, i+1)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			failed++
			fmt.Println(err)
		case v == tooLate && !again:
			late = append(late, i)
			return
		case v == tooLate:
			fmt.Printf("takes too long, alone as well: line %d, `%v`\n", m.line, m)
		case v == survives && listed[m.String()]:
			accounted[m.String()] = true
		case v == survives:
			survivors = append(survivors, m.String())
			fmt.Printf("survives: line %d, `%v`\n", m.line, m)
		}
		count[v]++
	}
	var wg sync.WaitGroup
	queue := make(chan int)
	for range *workers {
		wg.Go(func() {
			for i := range queue {
				take(i, false)
			}
		})
	}
	for i := *first; i < len(all); i += *every {
		queue <- i
	}
	close(queue)
	wg.Wait()
	for _, i := range late {
		take(i, true)
	}
	fmt.Printf("of %d mutants %d killed, %d took too long, %d survive as docs/mutation.md says, %d survive, %d did not compile; in %v\n",
		len(all), count[killed], count[tooLate], count[survives]-len(survivors), len(survivors), count[invalid], time.Since(start).Round(time.Second))
	if *every == 1 && *first == 0 {
		for _, name := range slices.Sorted(maps.Keys(listed)) {
			if file, _, _ := strings.Cut(name, " "); slices.Contains(strings.Split(*names, ","), file) && !accounted[name] {
				fmt.Printf("listed, and does not survive: `%s`\n", name)
			}
		}
	}
	if failed > 0 || len(survivors) > 0 {
		return fmt.Errorf("%d mutants survive, %d could not be tried", len(survivors), failed)
	}
	return nil
}

var row = regexp.MustCompile("(?m)^\\| `(.*)` \\|")

// reasons returns the mutants that a file gives reasons for.
func reasons(name string) (map[string]bool, error) {
	text, err := os.ReadFile(name)
	listed := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		listed[strings.ReplaceAll(m[1], `\|`, "|")] = true
	}
	return listed, err
}

// Mutate breaks the module in one place after the other, and tells where its
// tests do not notice.
//
//	go run ./mutate                        all files; half an hour
//	go run ./mutate -file retry.go,body.go
//	go run ./mutate -every 10              a sample
//
// It fails if a mutant survives that docs/mutation.md does not account for.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
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
		if v, out, err := s.run(dir, tmp, counting, 0); err != nil || v != survives {
			return fmt.Errorf("unbroken, the tests of %s fail: %v\n%s", s.pkg, err, out)
		}
	}
	fmt.Printf("compiled in %v\n", time.Since(start).Round(time.Second))

	var (
		mu        sync.Mutex
		count     = map[verdict]int{}
		again     []int // that survive, or whose tests took too long: perhaps for want of a processor
		survivors int
		accounted = map[string]bool{} // the listed ones that survive
		failed    int
		wg        sync.WaitGroup
		queue     = make(chan int)
	)
	for range *workers {
		wg.Go(func() {
			for i := range queue {
				v, err := invalid, error(nil)
				if !broken[i] {
					v, err = try(dir, tmp, all[i].file, counting, i+1)
				}
				mu.Lock()
				switch name := all[i].String(); {
				case err != nil:
					failed++
					fmt.Println(err)
				case v == survives && listed[name]:
					accounted[name] = true
					count[v]++
				case v == survives || v == tooLate:
					again = append(again, i)
				default:
					count[v]++
				}
				mu.Unlock()
			}
		})
	}
	for i := *first; i < len(all); i += *every {
		queue <- i
	}
	close(queue)
	wg.Wait()
	slices.Sort(again)
	for _, i := range again {
		m := all[i]
		v, err := invalid, alone(dir, tmp, m, suites(m.file))
		if err == nil {
			v, err = try(dir, tmp, m.file, none, 0)
		} else if errors.As(err, new(*exec.ExitError)) {
			err = nil // an import that the original needs, perhaps
		}
		if err != nil {
			return err
		}
		switch count[v]++; v {
		case tooLate:
			fmt.Printf("takes too long, alone as well: line %d, `%v`\n", m.line, m)
		case survives:
			survivors++
			fmt.Printf("survives: line %d, `%v`\n", m.line, m)
		}
	}
	fmt.Printf("of %d mutants %d killed, %d took too long, %d survive as docs/mutation.md says, %d survive, %d did not compile; in %v\n",
		len(all), count[killed], count[tooLate], count[survives]-survivors, survivors, count[invalid], time.Since(start).Round(time.Second))
	if *every == 1 && *first == 0 {
		for _, name := range slices.Sorted(maps.Keys(listed)) {
			if file, _, _ := strings.Cut(name, " "); slices.Contains(strings.Split(*names, ","), file) && !accounted[name] {
				fmt.Printf("listed, and does not survive: `%s`\n", name)
			}
		}
	}
	if failed > 0 || survivors > 0 {
		return fmt.Errorf("%d mutants survive, %d could not be tried", survivors, failed)
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

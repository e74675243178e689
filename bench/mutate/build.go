package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// number is the environment variable that says which mutant the tests are to
// meet, counted from 1; without it they meet none. All mutants are compiled into
// one program, each as a function of its own beside the one that it was made
// of, as compiling takes longer than most tests.
const number = "MUTANT"

// compile builds the tests of all suites with all mutants in them, into tmp, and
// returns which of the mutants do not compile.
func compile(dir, tmp string, all []mutant, of []suite) (invalid map[int]bool, err error) {
	invalid = map[int]bool{}
	for {
		files := map[string]file{}
		replace := map[string]string{}
		for i, m := range all {
			if _, ok := files[m.file]; ok || invalid[i] {
				continue
			}
			source, err := os.ReadFile(filepath.Join(dir, m.file))
			if err != nil {
				return nil, err
			}
			f, err := combine(m.file, source, all, invalid)
			if err != nil {
				return nil, err
			}
			files[m.file] = f
			chosen := fmt.Sprintf("package %s\n\nimport (\n\t\"os\"\n\t\"strconv\"\n)\n\nvar mutant, _ = strconv.Atoi(os.Getenv(%q))\n", f.pkg, number)
			for name, text := range map[string]string{m.file: f.text, filepath.Join(filepath.Dir(m.file), "mutant.go"): chosen} {
				instead := filepath.Join(tmp, strings.ReplaceAll(name, "/", "_"))
				replace[filepath.Join(dir, name)] = instead
				if err := os.WriteFile(instead, []byte(text), 0o600); err != nil {
					return nil, err
				}
			}
		}
		if err := overlay(tmp, replace); err != nil {
			return nil, err
		}
		s, out, err := build(dir, tmp, of)
		if err == nil {
			return invalid, nil
		}
		found := len(invalid)
		for _, e := range place.FindAllSubmatch(out, -1) {
			line, err := strconv.Atoi(string(e[2]))
			if err != nil {
				return nil, err
			}
			for name, f := range files {
				if bytes.HasSuffix(e[1], []byte(filepath.Base(name))) && f.first <= line {
					i, _ := slices.BinarySearchFunc(f.variants, line+1, func(v variant, line int) int { return v.line - line })
					invalid[f.variants[i-1].mutant] = true
				}
			}
		}
		if len(invalid) == found {
			return nil, fmt.Errorf("the tests of %s do not compile: %w\n%s", s.pkg, err, out)
		}
	}
}

// alone compiles the tests with one mutant in the place of the original, for
// what the many functions of compile change: what is inlined, and allocated.
func alone(dir, tmp string, m mutant, of []suite) error {
	source, err := os.ReadFile(filepath.Join(dir, m.file))
	if err != nil {
		return err
	}
	instead := filepath.Join(tmp, "alone.go")
	changed := slices.Concat(source[:m.at], []byte(m.text), source[m.end:])
	if err := errors.Join(os.WriteFile(instead, changed, 0o600), overlay(tmp, map[string]string{filepath.Join(dir, m.file): instead})); err != nil {
		return err
	}
	_, out, err := build(dir, tmp, of)
	if err != nil {
		return fmt.Errorf("%v does not compile: %w\n%s", m, err, out)
	}
	return nil
}

// overlay makes build take other files instead of some.
func overlay(tmp string, replace map[string]string) error {
	list, err := json.Marshal(map[string]any{"Replace": replace})
	return errors.Join(err, os.WriteFile(filepath.Join(tmp, "overlay.json"), list, 0o600))
}

// build compiles the tests of all suites. On an error it says of which it is.
func build(dir, tmp string, of []suite) (s suite, out []byte, err error) {
	done := map[string]bool{}
	for _, s = range of {
		if done[s.program(tmp)] {
			continue
		}
		done[s.program(tmp)] = true
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-gcflags=-e",
			"-overlay="+filepath.Join(tmp, "overlay.json"), "-o", s.program(tmp), s.pkg)
		cmd.Dir = filepath.Join(dir, s.module)
		if out, err = cmd.CombinedOutput(); err != nil {
			return s, out, err
		}
	}
	return s, nil, nil
}

// place is how the compiler begins the line of an error.
var place = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):\d+: `)

// A file is one with its mutants.
type file struct {
	pkg, text string
	first     int // line of a variant
	variants  []variant
}

// A variant is a function that is a mutant.
type variant struct{ line, mutant int }

// combine adds to a file a function for each of its mutants, but for the
// invalid, and lets the original ones call them.
func combine(name string, source []byte, all []mutant, invalid map[int]bool) (file, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	offset := func(p token.Pos) int { return fset.Position(p).Offset }
	var original, variants strings.Builder
	var of []variant
	done, line := 0, 1
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		begin, body, end := offset(f.Pos()), offset(f.Body.Lbrace)+1, offset(f.End())
		args, blanks := arguments(f)
		var calls strings.Builder
		for i, m := range all {
			if m.file != name || invalid[i] || m.at < body || m.end > end {
				continue
			}
			own := fmt.Sprintf("mutant%d_%s", i+1, f.Name.Name)
			call := own + args
			if f.Recv != nil {
				call = f.Recv.List[0].Names[0].Name + "." + call
			}
			if f.Type.Results == nil {
				call += "; return"
			} else {
				call = "return " + call
			}
			fmt.Fprintf(&calls, " case %d: %s;", i+1, call)
			of = append(of, variant{line, i})
			at := offset(f.Name.Pos())
			text := string(source[begin:at]) + own + string(source[offset(f.Name.End()):m.at]) + m.text + string(source[m.end:end]) + "\n"
			line += strings.Count(text, "\n")
			variants.WriteString(text)
		}
		if calls.Len() == 0 {
			continue
		}
		for i, n := range blanks {
			original.Write(source[done:offset(n.Pos())])
			fmt.Fprintf(&original, "blank%d", i)
			done = offset(n.End())
		}
		original.Write(source[done:body])
		fmt.Fprintf(&original, " switch mutant {%s }; ", calls.String())
		done = body
	}
	original.Write(source[done:])
	first := strings.Count(original.String(), "\n") + 1
	for i := range of {
		of[i].line += first - 1
	}
	return file{parsed.Name.Name, original.String() + variants.String(), first, of}, nil
}

// arguments are the parameters of a function, as it hands them on, and those
// that need a name for it: blank0, blank1, …
func arguments(f *ast.FuncDecl) (list string, blanks []*ast.Ident) {
	var names []string
	for _, field := range f.Type.Params.List {
		for _, n := range field.Names {
			name := n.Name
			if name == "_" {
				name = fmt.Sprint("blank", len(blanks))
				blanks = append(blanks, n)
			}
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				name += "..."
			}
			names = append(names, name)
		}
	}
	return "(" + strings.Join(names, ", ") + ")", blanks
}

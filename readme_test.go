package iamhttp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Go block in a document is part of a Go file in the repository, or is a whole file.
// [TestTutorialProgramsBuildAndRunInAnEmptyDirectory] builds the whole files, except those
// that import a nested module: a file of that module contains them. A recipe is both: it
// is a whole file, and part of the file that contains its test.
func TestEveryGoBlockInADocumentIsCompiled(t *testing.T) {
	var compiled []string
	for _, text := range files(t, ".go") {
		compiled = append(compiled, flatten(text))
	}
	blocks := 0
	for path, text := range files(t, ".md") {
		_, recipes, _ := strings.Cut(text, "\n## Recipes\n")
		for _, code := range goBlocks(t, text) {
			blocks++
			if firstStep.MatchString(code) {
				assert.Contains(t, stepsIn, path)
				switch {
				case ofOtherModule(code):
					_, code, _ = strings.Cut(code, "package main\n")
				case strings.Contains(recipes, code):
					_, code, _ = strings.Cut(code, "\n)\n") // the test file has other imports
				default:
					continue
				}
			}
			code = strings.TrimPrefix(code, "import ") // in the Go file, this import is in a group
			assert.True(t, slices.ContainsFunc(compiled, func(file string) bool { return strings.Contains(file, flatten(code)) }),
				"%s: no Go file contains this block:\n%s", path, code)
		}
	}
	assert.Greater(t, blocks, 10)
}

func TestLinksInDocumentsPointToExistingFiles(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	for path, text := range files(t, ".md") {
		text = code.ReplaceAllString(text, "")
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(l[1], "://") {
				_, err := os.Stat(filepath.Join(filepath.Dir(path), l[1]))
				assert.NoError(t, err, "%s links to a file that does not exist", path)
			}
		}
	}
}

// files returns the contents of the repository's files with the extension ext, keyed by
// path.
func files(t *testing.T, ext string) map[string]string {
	if _, err := os.Stat("adapters/iamgophercloud/go.mod"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module that was downloaded from a proxy has no nested modules")
	}
	texts := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ext {
			return err
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	}))
	return texts
}

func goBlocks(t *testing.T, text string) []string {
	var blocks []string
	for i, part := range strings.Split(text, "```") {
		if i%2 == 0 {
			continue
		}
		code, isGo := strings.CutPrefix(part, "go\n")
		require.True(t, isGo, "this fenced block is not Go: %s", part)
		blocks = append(blocks, code)
	}
	return blocks
}

// firstStep matches the beginning of a block that is a whole file, and captures the file
// name.
var firstStep = regexp.MustCompile("^// ([a-z_/]+\\.go)\npackage ")

// otherModule finds an import of a nested module of this repository.
var otherModule = regexp.MustCompile(`"github\.com/iamhttp/iamhttp/(adapters/\w+|redisgate|iamotel)"`)

// ofOtherModule reports whether code imports a nested module. If it does, a file of that
// module contains the block, imports included, except for any package clause.
func ofOtherModule(code string) bool { return otherModule.MatchString(code) }

func TestDocumentsSayHowToGetTheModulesTheirFilesImport(t *testing.T) {
	found := 0
	for _, path := range stepsIn {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, code := range goBlocks(t, string(text)) {
			if module := otherModule.FindStringSubmatch(code); module != nil {
				found++
				before, _, _ := strings.Cut(string(text), code)
				command := "\n    go mod edit -replace=github.com/iamhttp/iamhttp/" + module[1] + "=../iamhttp/" + module[1] + "\n"
				if !strings.Contains(before, command) {
					t.Errorf("%s does not show this command before the block that needs it:%s", path, command)
				}
			}
		}
	}
	assert.Positive(t, found)
}

// stepsIn lists the documents in which some blocks are whole files. The README's program
// is also the tutorial's first program.
var stepsIn = []string{"README.md", "docs/tutorial.md"}

// This test does what the tutorial tells newcomers to do, but without the network. It
// cannot run go mod tidy, which downloads the test dependencies of other modules, so it
// uses -mod=mod.
func TestTutorialProgramsBuildAndRunInAnEmptyDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("this test builds several programs")
	}
	t.Parallel()
	tutorial, err := os.ReadFile("docs/tutorial.md")
	require.NoError(t, err)
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	parent := t.TempDir()
	dir := filepath.Join(parent, "try")
	require.NoError(t, os.Mkdir(dir, 0o755))
	steps, setups := map[string]string{}, map[string][]string{}
	for _, document := range stepsIn {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		setups[document] = regexp.MustCompile("(?m)^    go mod (?:init|edit) .*$").FindAllString(string(text), 2)
		require.Len(t, setups[document], 2, document)
		for _, code := range goBlocks(t, string(text)) {
			name := firstStep.FindStringSubmatch(code)
			if name == nil || ofOtherModule(code) {
				continue
			}
			if before, found := steps[name[1]]; found {
				assert.Equal(t, before, code, "%s shows a different version of %s than an earlier block", document, name[1])
			}
			steps[name[1]] = code
			file := filepath.Join(dir, name[1])
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(code), 0o644))
		}
	}
	try := func(command string) (string, error) {
		words := strings.Fields(command)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod -ldflags=-w", "GOPROXY=off", "GOSUMDB=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	run := func(command string) {
		out, err := try(command)
		require.NoError(t, err, "%s failed: %s", command, out)
	}
	assert.Equal(t, setups["docs/tutorial.md"], setups["README.md"])
	for _, command := range append(setups["README.md"], "go vet ./...", "go test ./...") {
		// The tutorial's directory is next to the clone; this one is not. A symbolic link to
		// the clone would not help: the go command would compile the module once more.
		run(strings.ReplaceAll(command, "=../iamhttp", "="+root))
	}

	// The tutorial shows the programs' output, but with other times, waits and ports.
	differs := regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d|wait=\S+|127\.0\.0\.1:\d+`)
	shown := differs.ReplaceAllString(string(tutorial), "?")
	alice, bob := serveQuickstart(t, parent)
	prints := func(url string, status int) {
		t.Helper()
		run("go build -o first .")
		out, err := try("./first " + url)
		if status == 0 {
			require.NoError(t, err, out)
		} else {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, status, exit.ExitCode())
			out += fmt.Sprintf("exit status %d\n", status) // as go run prints it
		}
		out = "\n\n" + regexp.MustCompile("(?m)^").ReplaceAllString(strings.TrimSpace(out), "    ") + "\n"
		if !strings.Contains(shown, differs.ReplaceAllString(out, "?")) {
			t.Errorf("the tutorial does not show this output:\n%s", out)
		}
	}
	prints(alice, 0)
	prints(bob, 1)

	swaps := regexp.MustCompile("`([^`]+)` in place of `([^`]+)` in\\s+main\\.go").FindAllStringSubmatch(string(tutorial), -1)
	require.Len(t, swaps, 2)
	file := filepath.Join(dir, "main.go")
	swap := func(with, old string) {
		is, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(is), old)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(is), old, with)), 0o644))
	}
	swap(swaps[0][1], swaps[0][2])
	prints(bob, 1)
	swap(swaps[1][1], swaps[1][2])
	prints(alice, 0)
}

// serveQuickstart starts the service that the tutorial's programs call, and returns the
// two URLs that the service prints.
func serveQuickstart(t *testing.T, dir string) (alice, bob string) {
	program := filepath.Join(dir, "quickstart")
	out, err := exec.Command("go", "build", "-o", program, "./examples/quickstart").CombinedOutput()
	require.NoError(t, err, "%s", out)
	service := exec.Command(program, "-serve")
	stdout, err := service.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, service.Start())
	t.Cleanup(func() {
		assert.NoError(t, service.Process.Kill())
		_ = service.Wait()
	})
	var urls []string
	for lines := bufio.NewScanner(stdout); len(urls) < 2 && lines.Scan(); {
		if url := regexp.MustCompile(`^http\S+`).FindString(lines.Text()); url != "" {
			urls = append(urls, url)
		}
	}
	require.Len(t, urls, 2)
	return urls[0], urls[1]
}

// A test in adapters/compat makes the same comparison. But docs/sdks.md is outside that
// module, so the go command may report that test's cached result although docs/sdks.md
// has changed.
func TestSDKTableInDocsMatchesTheMeasuredTable(t *testing.T) {
	measured, err := os.ReadFile("adapters/compat/TABLE.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module that was downloaded from a proxy has no nested modules")
	}
	require.NoError(t, err)
	short, err := os.ReadFile("docs/sdks.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(short), "<!-- sdk table, written by: ")
	require.True(t, found)
	_, after, _ = strings.Cut(after, "-->\n")
	block, _, found := strings.Cut(after, "<!-- end of sdk table -->")
	require.True(t, found)
	if !strings.Contains(string(measured), block) {
		t.Error("docs/sdks.md and TABLE.md differ; run the command in the comment above the table in sdks.md")
	}
}

// flatten removes the indentation of each line.
func flatten(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

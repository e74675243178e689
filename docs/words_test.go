package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These are the word limits for the documents.
//
// A word is a piece of text between spaces that contains a letter or a digit; inline code
// is one word. Headings, lists and hand-written tables count. The following do not count:
//   - blocks of code and of commands;
//   - generated tables, between the comments "written by" and "end of";
//   - HTML comments, and the targets of links;
//   - the files listed in written, which are generated as a whole.
const (
	maxReadme    = 1_000
	maxDocuments = 10_000
)

var written = []string{
	"adapters/compat/TABLE.md",
	"bench/SUMMARY.md",
	"bench/overload/DRAWS.md",
	"bench/overload/FIGURES.md",
	"bench/overload/PEERS.md",
	"bench/overload/ROWS.md",
	"bench/overload/STATED.md",
	"bench/overload/SUMMARY.md",
}

func TestREADMEHasAtMost1000Words(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	assert.LessOrEqual(t, words(string(readme)), maxReadme, "README.md has too many words")
}

func TestDocumentsHaveAtMost10000WordsInAll(t *testing.T) {
	var sum int
	var each []string
	for path, text := range tree(t, ".md") {
		if slices.Contains(written, path) {
			continue
		}
		n := words(text)
		sum += n
		each = append(each, fmt.Sprintf("%6d %s", n, path))
	}
	slices.Sort(each)
	t.Logf("%d words:\n%s", sum, strings.Join(each, "\n"))
	assert.LessOrEqual(t, sum, maxDocuments, "the documents have too many words in total")
}

func TestOnlyQuestionsBeginWithABareWhoWhatOrWhich(t *testing.T) {
	for path, text := range texts(t) {
		for _, s := range sentences(text) {
			assert.False(t, bare.MatchString(s) && !strings.HasSuffix(s, "?"), "%s: this sentence begins with a bare Who, What or Which: %s", path, s)
		}
	}
}

func TestWordRepeatAppearsOnlyInQuotations(t *testing.T) {
	for path, text := range texts(t) {
		for _, s := range sentences(text) {
			assert.NotRegexp(t, `(?i)\b(?:un)?repeat`, quotation.ReplaceAllString(s, ""), "%s: write retry in this sentence, or quote the API's table", path)
		}
	}
}

func TestWordsAreCountedAndSentencesAreFoundCorrectly(t *testing.T) {
	const text = "# What it does\n\nIt is `a b c`. What you get\nis 2 words. What is it?\n\n" +
		"- one [link](which/is.md), e.g. this\n\n    go test ./...\n\n```go\nvar x int\n```\n" +
		"<!-- table, written by: a test -->\n| not this |\n<!-- end of table -->\n\n| a | – |\n|---|--:|\n"
	assert.Equal(t, 3+3+6+3+4+1, words(text))
	assert.Equal(t, []string{
		"It is `a b c`.", "What you get is 2 words.", "What is it?", "one link, e.g. this", "a", "–",
	}, sentences(text))
	assert.Regexp(t, bare, "What you get is 2 words.")
	assert.NotRegexp(t, bare, "Whatever you get.")
}

var (
	bare      = regexp.MustCompile(`^(?:Who|What|Which)\b`)
	quotation = regexp.MustCompile(`"[^"]*"|“[^”]*”|` + "`[^`]*`")
	generated = regexp.MustCompile(`(?s)<!-- [^>]*written by[^>]*-->.*?<!-- end of [^>]*-->`)
	comment   = regexp.MustCompile(`(?s)<!--.*?-->`)
	fenced    = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	picture   = regexp.MustCompile(`!\[([^\]]*)\]\([^)]*\)`)
	link      = regexp.MustCompile(`\[([^\]]*)\](?:\([^)]*\)|: .*)?`)
	code      = regexp.MustCompile("`[^`]*`")
	word      = regexp.MustCompile(`[\pL\pN]`)
	item      = regexp.MustCompile(`^(?:[-*]|\d+\.) `)
	rule      = regexp.MustCompile(`^[-:| ]+$`)
	ending    = regexp.MustCompile(`[.!?]["”)*]*\s+(?:[("“*]*[A-Z])`)
)

// words counts the words of a document.
func words(text string) (n int) {
	for _, p := range paragraphs(text) {
		for f := range strings.FieldsSeq(code.ReplaceAllString(p, "code")) {
			if word.MatchString(f) {
				n++
			}
		}
	}
	return n
}

// sentences returns the sentences of a document or doc comment, without its headings.
func sentences(text string) (all []string) {
	for _, p := range paragraphs(text) {
		if strings.HasPrefix(p, "#") {
			continue
		}
		p = strings.ReplaceAll(p, "**", "")
		for {
			at := ending.FindStringIndex(p)
			if at == nil {
				break
			}
			end := at[1] - 1
			for p[end-1] != ' ' {
				end--
			}
			all, p = append(all, strings.TrimSpace(p[:end])), p[end:]
		}
		all = append(all, strings.TrimSpace(p))
	}
	return all
}

// paragraphs returns the paragraphs, list items, table cells and headings of a document,
// each as one line, without code blocks, comments and generated tables.
func paragraphs(text string) (all []string) {
	text = fenced.ReplaceAllString(generated.ReplaceAllString(text, ""), "")
	text = picture.ReplaceAllString(comment.ReplaceAllString(text, ""), "$1")
	text = link.ReplaceAllString(text, "$1")
	var open, listed bool // whether the last paragraph can continue, and whether it is a list item
	for line := range strings.Lines(text) {
		deep := strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			open = false
		case deep && !open && !(listed && item.MatchString(line)): // a block of commands
		case rule.MatchString(line):
		case strings.HasPrefix(line, "|"):
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				if cell = strings.TrimSpace(cell); cell != "" {
					all = append(all, cell)
				}
			}
			open = false
		case strings.HasPrefix(line, "#"):
			all = append(all, line)
			open, listed = false, false
		case open && !item.MatchString(line):
			all[len(all)-1] += " " + line
		default:
			listed = item.MatchString(line)
			all = append(all, item.ReplaceAllString(line, ""))
			open = true
		}
	}
	return all
}

// texts returns the repository's documents and doc comments, keyed by location.
func texts(t *testing.T) map[string]string {
	all := tree(t, ".md")
	for path, text := range tree(t, ".go") {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			for _, doc := range docOf(n) {
				if doc != nil {
					all[set.Position(doc.Pos()).String()] = doc.Text()
				}
			}
			return true
		})
	}
	return all
}

// docOf returns the doc comment of the file, declaration or field n, and the comment at the
// end of its line. Either may be nil.
func docOf(n ast.Node) []*ast.CommentGroup {
	switch n := n.(type) {
	case *ast.File:
		return []*ast.CommentGroup{n.Doc}
	case *ast.FuncDecl:
		return []*ast.CommentGroup{n.Doc}
	case *ast.GenDecl:
		return []*ast.CommentGroup{n.Doc}
	case *ast.TypeSpec:
		return []*ast.CommentGroup{n.Doc, n.Comment}
	case *ast.ValueSpec:
		return []*ast.CommentGroup{n.Doc, n.Comment}
	case *ast.Field:
		return []*ast.CommentGroup{n.Doc, n.Comment}
	}
	return nil
}

// tree returns the contents of the repository's files with the extension ext, keyed by path.
func tree(t *testing.T, ext string) map[string]string {
	all := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ext {
			return err
		}
		text, err := os.ReadFile(filepath.Join("..", path))
		all[path] = string(text)
		return err
	}))
	return all
}

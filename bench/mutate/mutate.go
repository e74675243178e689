package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// A mutant is a source file with one thing changed.
type mutant struct {
	file     string
	function string
	line     int
	from, to string // what was changed into what
	at, end  int    // what is replaced of the file, in bytes
	text     string // and by what
}

// String tells mutants apart without the number of the line, which moves.
func (m mutant) String() string {
	return fmt.Sprintf("%s %s: %s → %s", m.file, m.function, oneLine(m.from), oneLine(m.to))
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return s
}

// swaps are what an operator becomes.
var swaps = map[token.Token][]token.Token{
	token.EQL:  {token.NEQ},
	token.NEQ:  {token.EQL},
	token.LSS:  {token.LEQ, token.GEQ},
	token.LEQ:  {token.LSS, token.GTR},
	token.GTR:  {token.GEQ, token.LEQ},
	token.GEQ:  {token.GTR, token.LSS},
	token.LAND: {token.LOR},
	token.LOR:  {token.LAND},
	token.ADD:  {token.SUB},
	token.SUB:  {token.ADD},
	token.MUL:  {token.QUO},
	token.QUO:  {token.MUL},
	token.REM:  {token.MUL},
	token.SHL:  {token.SHR},
	token.SHR:  {token.SHL},
}

// mutants returns all of a file: operators swapped, conditions negated, results
// replaced by their zero values, statements left out, whole numbers one higher.
// Some do not compile.
func mutants(file string, source []byte) ([]mutant, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var all []mutant
	offset := func(p token.Pos) int { return fset.Position(p).Offset }
	text := func(n ast.Node) string { return string(source[offset(n.Pos()):offset(n.End())]) }
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue // constants and tables: a test of each would be a copy
		}
		// show is what is shown as changed, part what is.
		change := func(show ast.Node, from, end token.Pos, to string) {
			a, b := offset(from), offset(end)
			shown := string(source[offset(show.Pos()):a]) + to + string(source[b:offset(show.End())])
			all = append(all, mutant{file, f.Name.Name, fset.Position(from).Line, text(show), shown, a, b, to})
		}
		replace := func(n ast.Node, to string) { change(n, n.Pos(), n.End(), to) }
		condition := func(e ast.Expr) {
			if _, isBinary := e.(*ast.BinaryExpr); e != nil && !isBinary {
				replace(e, "!("+text(e)+")")
			}
		}
		results := []*ast.FieldList{f.Type.Results}
		var above []ast.Node      // the nodes that are around the visited one
		var plain []*ast.BasicLit // results, which go with the others: 0 beside an error
		var visit func(n ast.Node) bool
		visit = func(n ast.Node) bool {
			if n == nil {
				above = above[:len(above)-1]
				return true
			}
			above = append(above, n)
			switch n := n.(type) {
			case *ast.FuncLit:
				results = append(results, n.Type.Results)
				ast.Inspect(n.Body, visit)
				results = results[:len(results)-1]
				above = above[:len(above)-1]
				return false
			case *ast.BinaryExpr:
				for _, op := range swaps[n.Op] {
					change(n, n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op.String())
				}
			case *ast.IfStmt:
				condition(n.Cond)
			case *ast.ForStmt:
				condition(n.Cond)
			case *ast.CaseClause:
				for _, e := range n.List {
					if _, isCall := e.(*ast.CallExpr); isCall {
						condition(e)
					}
				}
			case *ast.ReturnStmt:
				types := zeroes(results[len(results)-1], text)
				if len(types) == len(n.Results) {
					for i, e := range n.Results {
						if l, ok := e.(*ast.BasicLit); ok {
							plain = append(plain, l)
						}
						if e := text(e); e == "true" {
							replace(n.Results[i], "false")
						} else if !slices.Contains([]string{"nil", "false", "0", `""`}, e) {
							replace(n.Results[i], "*new("+types[i]+")")
						} else if e == "false" {
							replace(n.Results[i], "true")
						}
					}
				}
			case *ast.BasicLit:
				if n.Kind == token.INT && !slices.Contains(plain, n) {
					show := ast.Node(n)
					if e, ok := above[len(above)-2].(ast.Expr); ok && len(oneLine(text(e))) == len(text(e)) {
						show = e // there are many numbers
					}
					change(show, n.Pos(), n.End(), "("+n.Value+" + 1)")
				}
			case *ast.ExprStmt, *ast.DeferStmt, *ast.IncDecStmt, *ast.BranchStmt:
				replace(n, "{}")
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					replace(n, "{}")
				}
			}
			return true
		}
		ast.Inspect(f.Body, visit)
	}
	return all, nil
}

// zeroes are the types of the results.
func zeroes(results *ast.FieldList, text func(ast.Node) string) (types []string) {
	if results == nil {
		return nil
	}
	for _, field := range results.List {
		for range max(1, len(field.Names)) {
			types = append(types, text(field.Type))
		}
	}
	return types
}

package lifecycle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"sync"
)

// phaseDocs has what the source says of each phase: "Created: an exec that is
// registered..." of its comment, without the name.
var phaseDocs = sync.OnceValue(func() map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	docs := make(map[string]string)
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if text, ok := strings.CutPrefix(v.Doc.Text(), v.Names[0].Name+": "); ok {
				docs[v.Names[0].Name] = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ".")
			}
		}
		return true
	})
	return docs
})

func phaseDoc(ph Phase) string { return phaseDocs()[ph.String()] }

package lifecycle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/troupe-run/troupe/messages"
)

// replyTypes has the name of the reply to each command, read from the protocol's
// source: that a command names its reply type is known to the compiler only.
var replyTypes = sync.OnceValue(func() map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "messages", "command.go"), nil, 0)
	if err != nil {
		panic(err)
	}
	types := make(map[string]string)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && fn.Name.Name == "answeredBy" {
			types[fn.Recv.List[0].Type.(*ast.Ident).Name] = fn.Type.Params.List[0].Type.(*ast.Ident).Name
		}
	}
	return types
})

// answers tells whether a reply is of the type that its command names.
func answers(c messages.AnyCommand, r messages.Reply) bool {
	return r != nil && replyTypes()[reflect.TypeOf(c).Name()] == reflect.TypeOf(r).Name()
}

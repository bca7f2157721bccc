package actors_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/troupe-run/troupe"

// source is one file of the project that is not a test.
type source struct {
	path   string // from the root of the module
	folder string
	file   *ast.File
	set    *token.FileSet
}

func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

// imports are the paths that a file imports.
func (s source) imports() (paths []string) {
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// sources reads the project, whatever a file's build tags say.
func sources(t *testing.T) (all []source, folders []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || rel == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir():
			folders = append(folders, rel)
		case strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go"):
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			all = append(all, source{path: rel, folder: path.Dir(rel), file: f, set: set})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files were found: the test is void", len(all))
	}
	return all, folders
}

// standard tells whether an import is of the standard library.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

const runtimeSpec = "github.com/opencontainers/runtime-spec/specs-go"

// The arrows of the house: each folder, and why it may import what.
func TestImportsRunOneWay(t *testing.T) {
	all, _ := sources(t)
	// mayImport has what a folder may import beside the standard library.
	mayImport := map[string][]string{
		// Data: whoever speaks the protocol gets nothing else with it.
		"messages": {runtimeSpec},
		// Pure: what decides can not touch anything.
		"actors/lifecycle": {module + "/messages"},
		// The fake driver is a driver: it knows no actor.
		"actors/fake": {module + "/messages", runtimeSpec},
	}
	for _, s := range all {
		for _, p := range s.imports() {
			if allowed, ok := mayImport[s.folder]; ok && !standard(p) && !slices.Contains(allowed, p) {
				t.Errorf("%s imports %s; %s may import %v", s.path, p, s.folder, allowed)
			}
			under := func(folder string) bool { return s.folder == folder || strings.HasPrefix(s.folder, folder+"/") }
			ours := func(folder string) bool {
				return p == module+"/"+folder || strings.HasPrefix(p, module+"/"+folder+"/")
			}
			switch {
			case under("runsc") && (ours("actors") || ours("cmd") || ours("bench")):
				t.Errorf("%s imports %s: a driver is what the actors are given, and knows none", s.path, p)
			case under("actors") && (ours("runsc") || ours("cmd") || ours("bench")):
				t.Errorf("%s imports %s: the actors know the driver by its interface", s.path, p)
			case strings.HasPrefix(p, "github.com/asynkron/") && s.folder != "actors":
				t.Errorf("%s imports %s: only package actors may, so that another library is cheap", s.path, p)
			case (s.folder == "actors" || under("actors/lifecycle") || under("messages")) && strings.HasPrefix(p, "github.com/containerd/"):
				t.Errorf("%s imports %s: containerd is spoken of in cmd and runsc", s.path, p)
			}
		}
	}
}

// What a build of messages links in is the standard library and runtime-spec.
func TestMessagesNeedOnlyTheRuntimeSpec(t *testing.T) {
	pkg, err := build.ImportDir("../messages", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkg.Imports {
		if !standard(p) && p != runtimeSpec {
			t.Errorf("messages imports %s", p)
		}
	}
}

// lifecycle decides from what it is given: it has no clock, does no I/O, and
// starts no goroutine.
func TestLifecycleIsPure(t *testing.T) {
	all, _ := sources(t)
	forbidden := []string{"os", "net", "sync", "context", "io", "runtime", "syscall/js", "math/rand", "crypto"}
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"}
	files := 0
	for _, s := range all {
		if s.folder != "actors/lifecycle" {
			continue
		}
		files++
		for _, p := range s.imports() {
			for _, f := range forbidden {
				if p == f || strings.HasPrefix(p, f+"/") {
					t.Errorf("%s imports %s", s.path, p)
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", s.at(n))
			case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
				t.Errorf("%s has a channel", s.at(n))
			case *ast.SelectorExpr:
				if of(n, "time", clock...) {
					t.Errorf("%s reads the clock by time.%s", s.at(n), n.Sel.Name)
				}
			}
			return true
		})
	}
	if files == 0 {
		t.Error("no file of lifecycle was found: the test is void")
	}
}

// of tells whether an expression is one of a package's names.
func of(n *ast.SelectorExpr, pkg string, names ...string) bool {
	x, ok := n.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, n.Sel.Name)
}

// Every process is an actor that alone owns its state, so nothing here is
// locked. The one use of atomics is the queue of a mailbox, which decides who
// runs it and nothing else; the one pool has requests, which hold no state.
func TestActorsAndMessagesHoldNoLock(t *testing.T) {
	all, _ := sources(t)
	for _, s := range all {
		if s.folder != "actors" && !strings.HasPrefix(s.folder, "actors/") && s.folder != "messages" {
			continue
		}
		for _, p := range s.imports() {
			if p == "sync/atomic" && s.path != "actors/mailbox.go" {
				t.Errorf("%s imports %s", s.path, p)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if x, ok := n.(*ast.SelectorExpr); ok && of(x, "sync", "Mutex", "RWMutex", "Map", "Cond", "Once", "OnceFunc", "OnceValue", "OnceValues", "WaitGroup", "NewCond", "Locker") {
				t.Errorf("%s uses sync.%s", s.at(n), x.Sel.Name)
			}
			return true
		})
	}
}

// A folder is named after what is in it.
func TestNoFolderIsADrawer(t *testing.T) {
	_, folders := sources(t)
	drawers := []string{"pkg", "internal", "util", "utils", "common", "helper", "helpers", "lib", "misc", "shared", "vendor"}
	for _, f := range folders {
		if slices.Contains(drawers, path.Base(f)) {
			t.Errorf("the folder %s says nothing of what is in it", f)
		}
	}
	// A new folder at the top needs a reason that a newcomer would accept.
	top := []string{".", "actors", "bench", "cmd", "messages", "runsc"}
	for _, f := range folders {
		if !strings.Contains(f, "/") && !slices.Contains(top, f) {
			t.Errorf("the folder %s is new at the top", f)
		}
	}
}

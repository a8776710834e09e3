package test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// What docs/design.md says of the house, and a compiler does not check.

const module = "github.com/gracerun/grace/"

// A source is one file that is no test.
type source struct {
	path string // "gracerun/state.go"
	file *ast.File
	fset *token.FileSet
}

func (s *source) dir() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

// rooms are the directories that the rules are about.
var rooms = []string{"gracerun", "listener", "pidfile", "example", "test"}

// sources are parsed once: for every system, whatever a file's build tags say.
var sources = sync.OnceValues(func() ([]*source, error) {
	var list []*source
	for _, room := range rooms {
		err := filepath.WalkDir(filepath.Join("..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || nested(path)) {
				return filepath.SkipDir
			}
			if d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			fset := token.NewFileSet()
			// The objects that the parser resolves tell a local variable from
			// one of the package without a type checker.
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			rel, _ := filepath.Rel("..", path)
			list = append(list, &source{path: filepath.ToSlash(rel), file: file, fset: fset})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
})

// nested reports whether dir is a module of its own.
func nested(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func all(t *testing.T) []*source {
	t.Helper()
	list, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 40 {
		t.Fatalf("found %d files", len(list))
	}
	return list
}

func within(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
}

// TestImports point one way.
func TestImports(t *testing.T) {
	t.Parallel()
	type rule struct {
		from string
		ours []string // what may be imported of ours
	}
	rules := []rule{ // the first that fits
		{"gracerun/internal", []string{"gracerun/internal", "listener", "pidfile"}},
		{"gracerun", []string{"gracerun/internal", "listener", "pidfile"}},
		{"listener", []string{"listener"}},
		{"pidfile", []string{"pidfile"}},
		{"example", []string{"gracerun", "listener", "pidfile", "example", "test"}},
		{"test", []string{"gracerun", "listener", "pidfile", "example", "test"}},
	}
	for _, s := range all(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return within(s.dir(), r.from) })
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			ours, ok := strings.CutPrefix(path, module)
			if ok && !within(ours, rules[i].ours...) {
				t.Errorf("%s: %s imports %s", s.at(spec), s.dir(), ours)
			}
			if ok && s.path == "gracerun/state.go" {
				t.Errorf("%s: the state machine needs nothing of ours", s.at(spec))
			}
			if strings.HasPrefix(path, "github.com/cloudflare/tableflip") && s.dir() != "gracerun/internal/handoff" && !within(s.dir(), "test") {
				t.Errorf("%s: only gracerun/internal/handoff knows tableflip", s.at(spec))
			}
			if path == "net/http/pprof" || path == "expvar" {
				t.Errorf("%s: %s registers handlers for everybody", s.at(spec), path)
			}
		}
	}
}

// TestOneInit: importing the library does nothing, but for one function that
// acts only in a process that a predecessor started.
func TestOneInit(t *testing.T) {
	t.Parallel()
	var found []string
	for _, s := range all(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, s.path)
			}
		}
	}
	if !slices.Equal(found, []string{"gracerun/internal/handoff/early/early_linux.go"}) {
		t.Errorf("init functions in %q", found)
	}
}

// TestNoMutableVariables: a package-level variable has the value that its
// declaration, or init, gave it.
func TestNoMutableVariables(t *testing.T) {
	t.Parallel()
	// tableflip's, reached by go:linkname: the directory in which it starts a child.
	allowed := map[string]bool{"gracerun/internal/handoff.engineDir": true}
	names := map[string]map[string]bool{} // by package
	for _, s := range all(t) {
		for name := range variables(s.file) {
			if names[s.dir()] == nil {
				names[s.dir()] = map[string]bool{}
			}
			names[s.dir()][name] = true
		}
	}
	for _, s := range all(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil || f.Recv == nil && f.Name.Name == "init" {
				continue
			}
			changes(f.Body, func(id *ast.Ident, how string) {
				if names[s.dir()][id.Name] && isPackageLevel(s.file, id) && !allowed[s.dir()+"."+id.Name] {
					t.Errorf("%s: the package's variable %s is %s", s.at(id), id.Name, how)
				}
			})
		}
	}
}

// variables returns the package-level variables of a file.
func variables(file *ast.File) map[string]*ast.ValueSpec {
	vars := map[string]*ast.ValueSpec{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				vars[name.Name] = spec.(*ast.ValueSpec)
			}
		}
	}
	return vars
}

// isPackageLevel reports whether id, which has the name of a variable of the
// package, is that variable and no local one.
func isPackageLevel(file *ast.File, id *ast.Ident) bool {
	if id.Obj == nil { // declared in another file
		return true
	}
	spec, ok := id.Obj.Decl.(*ast.ValueSpec)
	return ok && variables(file)[id.Name] == spec
}

// changes calls f with the variable behind each assignment, and behind each
// address that is taken.
func changes(body ast.Node, f func(id *ast.Ident, how string)) {
	report := func(e ast.Expr, how string) {
		if id := root(e); id != nil {
			f(id, how)
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				report(e, "assigned")
			}
		case *ast.IncDecStmt:
			report(n.X, "counted")
		case *ast.RangeStmt:
			report(n.Key, "assigned")
			report(n.Value, "assigned")
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report(n.X, "given away by its address")
			}
		}
		return true
	})
}

// root is the variable that holds what e names.
func root(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		if e.Name != "_" {
			return e
		}
	case *ast.IndexExpr:
		return root(e.X)
	case *ast.SelectorExpr:
		return root(e.X)
	case *ast.StarExpr:
		return root(e.X)
	case *ast.ParenExpr:
		return root(e.X)
	}
	return nil
}

// TestFunctionsAreShort: under 40 lines, unless it is a loop around a select.
func TestFunctionsAreShort(t *testing.T) {
	t.Parallel()
	const most = 40
	allowed := map[string]bool{
		// One case for each message, one line or two in each.
		"gracerun/internal/handoff.attempt.hear": true,
		"gracerun.life.hear":                     true,
	}
	longest := map[string]int{}
	for _, s := range all(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			name := s.dir() + "." + qualified(f)
			longest[name] = lines
			if lines >= most && !allowed[name] && !isSelectLoop(f) {
				t.Errorf("%s: %s has %d lines", s.at(f), name, lines)
			}
		}
	}
	top := slices.SortedFunc(maps.Keys(longest), func(a, b string) int {
		return cmp.Or(cmp.Compare(longest[b], longest[a]), cmp.Compare(a, b))
	})
	for _, name := range top[:10] {
		t.Logf("%3d lines: %s", longest[name], name)
	}
}

// qualified is a function's name with its receiver's type.
func qualified(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiver(f) + "." + f.Name.Name
}

func receiver(f *ast.FuncDecl) string {
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	return typ.(*ast.Ident).Name
}

func isSelectLoop(f *ast.FuncDecl) bool {
	found := false
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok {
			for _, stmt := range loop.Body.List {
				_, isSelect := stmt.(*ast.SelectStmt)
				found = found || isSelect
			}
		}
		return !found
	})
	return found
}

// TestExportedNamesAreDocumented, each in one of the files that declare it: what
// differs from system to system is said once.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	where, documented := map[string]string{}, map[string]bool{}
	packages := map[string]bool{}
	for _, s := range all(t) {
		if within(s.dir(), "example") { // commands
			continue
		}
		packages[s.dir()] = packages[s.dir()] || s.file.Doc != nil
		exported(s.file, func(n ast.Node, name string, doc bool) {
			name = s.dir() + "." + name
			where[name] = cmp.Or(where[name], s.at(n))
			documented[name] = documented[name] || doc
		})
	}
	for _, name := range slices.Sorted(maps.Keys(where)) {
		if !documented[name] {
			t.Errorf("%s: %s is not documented", where[name], name)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if !packages[dir] {
			t.Errorf("package %s is not documented", dir)
		}
	}
}

// selfEvident are methods that are what the standard library says they are.
var selfEvident = map[string]bool{"Error": true, "String": true, "Unwrap": true}

// exported calls f with each exported name of a file: those of the package, and
// methods of exported types.
func exported(file *ast.File, f func(n ast.Node, name string, documented bool)) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)) && !selfEvident[d.Name.Name]) {
				f(d, qualified(d), d.Doc != nil)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						f(s, s.Name.Name, s.Doc != nil || d.Doc != nil && len(d.Specs) == 1)
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.IsExported() {
							f(name, name.Name, s.Doc != nil || s.Comment != nil || d.Doc != nil)
						}
					}
				}
			}
		}
	}
}

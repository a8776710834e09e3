package gracerun

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// TestTableIsComplete reads the source: a missing entry would be a zero value,
// which nothing at run time tells from an entry that says so.
func TestTableIsComplete(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "state.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	states, events := constants(file, "State"), constants(file, "event")
	if len(states) != int(stateCount) || len(events)-1 != int(eventCount) { // eventCount itself is one
		t.Fatalf("found the states %v and the events %v", states, events)
	}
	rows := entries(t, tableLiteral(t, file))
	for _, state := range states {
		row, ok := rows[state]
		if !ok {
			t.Errorf("no row for %s", state)
			continue
		}
		cells := entries(t, row)
		for _, event := range events[:eventCount] {
			if cell, ok := cells[event]; !ok {
				t.Errorf("no entry for %s in %s", event, state)
			} else if len(cell.Elts) != 2 {
				t.Errorf("the entry for %s in %s does not say both a state and an action", event, state)
			}
		}
		if len(cells) != int(eventCount) {
			t.Errorf("%s has %d entries, want %d", state, len(cells), eventCount)
		}
	}
}

// constants returns the names of the constants in the block whose first one is
// of the type.
func constants(file *ast.File, typ string) (names []string) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		if id, ok := gen.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident); !ok || id.Name != typ {
			continue
		}
		for _, spec := range gen.Specs {
			names = append(names, spec.(*ast.ValueSpec).Names[0].Name)
		}
	}
	return names
}

func tableLiteral(t *testing.T, file *ast.File) *ast.CompositeLit {
	t.Helper()
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		spec := gen.Specs[0].(*ast.ValueSpec)
		if spec.Names[0].Name == "table" {
			return spec.Values[0].(*ast.CompositeLit)
		}
	}
	t.Fatal("no table in state.go")
	return nil
}

func entries(t *testing.T, lit *ast.CompositeLit) map[string]*ast.CompositeLit {
	t.Helper()
	m := map[string]*ast.CompositeLit{}
	for _, elt := range lit.Elts {
		kv, ok := elt.(*ast.KeyValueExpr)
		if !ok {
			t.Fatal("an entry of the table has no key")
		}
		m[kv.Key.(*ast.Ident).Name] = kv.Value.(*ast.CompositeLit)
	}
	return m
}

// everyCell calls f for every entry of the table.
func everyCell(f func(from State, e event, to State, act action)) {
	for s := range stateCount {
		for e := range eventCount {
			to, act := next(s, e)
			f(s, e, to, act)
		}
	}
}

// TestWaysIntoAState lists how a state is entered from another: by nothing else.
func TestWaysIntoAState(t *testing.T) {
	t.Parallel()
	type way struct {
		from State
		e    event
	}
	only := map[State][]way{
		StateStarting:  {},
		StateReady:     {{StateStarting, evGo}, {StateUpgrading, evRefused}},
		StateUpgrading: {{StateReady, evUpgrade}},
		StateDraining: {
			{StateStarting, evStop}, {StateStarting, evFault},
			{StateReady, evStop}, {StateReady, evFault},
			{StateUpgrading, evCommitted}, {StateUpgrading, evStop}, {StateUpgrading, evFault},
		},
		StateDone: {
			{StateStarting, evQuit}, {StateReady, evQuit}, {StateUpgrading, evQuit},
			{StateDraining, evDrained}, {StateDraining, evQuit},
		},
	}
	found := map[State][]way{}
	everyCell(func(from State, e event, to State, _ action) {
		if from != to {
			found[to] = append(found[to], way{from, e})
		}
	})
	for s, want := range only {
		if !slices.Equal(found[s], want) {
			t.Errorf("%v is entered by %v, want %v", s, found[s], want)
		}
	}
}

func TestActionsFitTransitions(t *testing.T) {
	t.Parallel()
	everyCell(func(from State, e event, to State, act action) {
		must := func(ok bool, rule string) {
			t.Helper()
			if !ok {
				t.Errorf("%v, event %d: to %v with action %d: %s", from, e, to, act, rule)
			}
		}
		entered := from != to
		must((act == doOwn) == (entered && to == StateReady && from == StateStarting), "the service is owned from the first ready on")
		must((act == doUpgrade) == (entered && to == StateUpgrading), "upgrading is an upgrade under way")
		must((act == doDrain || act == doAbort) == (entered && to == StateDraining), "a drain begins once")
		must((act == doExit) == (e == evDrained && entered), "Run returns when all is drained, and not before")
		must((act == doQuit) == (e == evQuit && entered), "a second interrupt ends it")
		must((act == doCut) == (e == evDeadline && from == StateDraining), "the deadline is the drain's")
		must(e != evUpgrade || act != doNothing, "whoever asks for an upgrade gets an answer")
		must(e != evFault || act != doNothing || from == StateDone, "no fault is lost")
		must(from != StateUpgrading || e != evStop || act == doAbort, "a successor does not outlive the service")
	})
}

// FuzzNext lets any events happen in any order.
func FuzzNext(f *testing.F) {
	f.Add([]byte{byte(evServing), byte(evGo), byte(evUpgrade), byte(evRefused), byte(evUpgrade), byte(evCommitted), byte(evDrained)})
	f.Add([]byte{byte(evUpgrade), byte(evServing), byte(evGo), byte(evUpgrade), byte(evStop), byte(evRefused), byte(evDeadline), byte(evDrained)})
	f.Add([]byte{byte(evFault), byte(evStop), byte(evQuit), byte(evGo)})
	f.Fuzz(func(t *testing.T, events []byte) {
		count := map[action]int{}
		attempts := 0 // under way
		s := StateStarting
		for _, b := range events {
			e := event(b) % eventCount
			to, act := next(s, e)
			count[act]++
			switch {
			case to < 0 || to >= stateCount:
				t.Fatalf("%v, event %d: no such state: %d", s, e, to)
			case s == StateDone && to != StateDone:
				t.Fatalf("event %d brings it back from the dead to %v", e, to)
			case s == StateDraining && to < StateDraining:
				t.Fatalf("event %d ends the drain with %v", e, to)
			}
			switch {
			case act == doUpgrade:
				attempts++
			case s == StateUpgrading && (e == evRefused || e == evCommitted):
				attempts--
			}
			if attempts < 0 || attempts > 1 {
				t.Fatalf("%d upgrades at once", attempts)
			}
			s = to
		}
		for _, once := range []action{doOwn, doDrain, doAbort, doExit, doQuit} {
			if count[once] > 1 {
				t.Errorf("action %d was taken %d times", once, count[once])
			}
		}
		if count[doDrain]+count[doAbort] > 1 || count[doExit]+count[doQuit] > 1 {
			t.Errorf("it ended twice: %v", count)
		}
	})
}

func TestStateText(t *testing.T) {
	t.Parallel()
	for s := range stateCount {
		text, err := s.MarshalText()
		if err != nil || string(text) != s.String() {
			t.Errorf("%d: MarshalText = %q, %v; String = %q", int(s), text, err, s)
		}
		var back State
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("UnmarshalText(%q) = %v, %v", text, back, err)
		}
	}
	for _, s := range []State{-1, stateCount} {
		if text, err := s.MarshalText(); err == nil {
			t.Errorf("%d: MarshalText = %q", int(s), text)
		}
		if s.String() == "" {
			t.Errorf("%d has no String", int(s))
		}
	}
	s := StateReady
	if err := s.UnmarshalText([]byte("Ready")); err == nil || s != StateReady {
		t.Errorf("UnmarshalText of a name in upper case: %v, %v", s, err)
	}
}

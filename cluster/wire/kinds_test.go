package wire_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/zumodra/hub/chat"
)

// Every type of each kind. TestEveryTypeIsKnown compares them with the source of package chat.
var (
	questions = []chat.Question{
		chat.CarryOut{}, chat.Read{}, chat.Peek{}, chat.FoundDirect{}, chat.Relate{}, chat.Bar{}, chat.Prefer{},
		chat.AskPresence{}, chat.Declare{},
	}
	answers = []chat.Answer{
		chat.Done{}, chat.Reading{}, chat.Snapshots{}, chat.Related{}, chat.Preferred{}, chat.PresenceOf{}, chat.Noted{},
	}
	parcels = []chat.Parcel{
		chat.ToHome{}, chat.ToEdge{}, chat.Enrol{}, chat.Digests{}, chat.Recount{}, chat.Charges{},
	}
	commands = []chat.Command{
		chat.Create{}, chat.Send{}, chat.Edit{}, chat.Delete{}, chat.React{}, chat.Typing{}, chat.MarkRead{},
		chat.MarkDelivered{}, chat.AddMembers{}, chat.RemoveMembers{}, chat.Leave{}, chat.Rename{}, chat.SetRole{},
		chat.Archive{}, chat.Attach{}, chat.Resume{}, chat.SetPermissions{}, chat.Forward{}, chat.Pin{},
		chat.Hide{}, chat.Mute{}, chat.PinConversation{}, chat.SetDraft{}, chat.Erase{}, chat.Preview{Preview: chat.LinkPreview{URL: "u"}},
	}
	peopleCommands = []chat.PeopleCommand{
		chat.AddContact{}, chat.SetFavorite{}, chat.RemoveContact{}, chat.RequestFriend{}, chat.AnswerRequest{},
		chat.CancelRequest{}, chat.Block{}, chat.Unblock{},
	}
)

func chatSource(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob("../../chat/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// TestEveryTypeIsKnown finds the types that implement chat's interfaces by their methods in its source.
func TestEveryTypeIsKnown(t *testing.T) {
	methods := map[string]map[string]bool{}
	for _, f := range chatSource(t) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			name := typ.(*ast.Ident).Name
			if methods[name] == nil {
				methods[name] = map[string]bool{}
			}
			methods[name][fn.Name.Name] = true
		}
	}
	var found [5][]string
	for name, has := range methods {
		switch {
		case has["answer"]:
			found[1] = append(found[1], name)
		case has["Repeatable"]:
			found[0] = append(found[0], name)
		case has["Target"]:
			found[3] = append(found[3], name)
		case has["About"]:
			found[4] = append(found[4], name)
		case has["Name"] && name != "User":
			found[2] = append(found[2], name)
		}
	}
	for i, want := range [...][]string{names(questions), names(answers), names(parcels), names(commands), names(peopleCommands)} {
		slices.Sort(want)
		slices.Sort(found[i])
		if diff := cmp.Diff(want, found[i]); diff != "" {
			t.Errorf("types that the tests know (-) and that chat has (+):\n%s", diff)
		}
	}
}

func names[T any](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, reflect.TypeOf(v).Name())
	}
	return out
}

var sameAs = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.EquateNaNs(),
	cmpopts.IgnoreFields(chat.Delivery{}, "AcceptedAt"),
}

// full sets every field of v, in depth, to something that is not zero and unlike the others.
type full struct{ n uint64 }

func (f *full) fill(v reflect.Value) {
	f.n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMicro(1_700_000_000_000_000 + int64(f.n)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("x", int(f.n%3)) + string(rune('A'+f.n%26)) + string(rune(0x4e00+f.n)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Uint8:
		v.SetUint(f.n%255 + 1)
	case reflect.Uint64:
		v.SetUint(f.n<<40 + f.n)
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.25)
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			f.fill(v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Interface: // which one, the caller says
	default:
		panic("a type of chat that the test cannot make: " + v.Type().String())
	}
}

// fullOf returns values of v's type with all fields set: one, or one for each command that it may hold.
func fullOf[T any](v T) []T {
	typ := reflect.TypeOf(v)
	inner := []any{nil}
	if f, ok := typ.FieldByName("Command"); ok {
		inner = nil
		if f.Type == reflect.TypeFor[chat.Command]() {
			for _, c := range commands {
				inner = append(inner, c)
			}
		} else {
			for _, c := range peopleCommands {
				inner = append(inner, c)
			}
		}
	}
	var out []T
	for _, c := range inner {
		f := &full{}
		value := reflect.New(typ).Elem()
		f.fill(value)
		if c != nil {
			command := reflect.New(reflect.TypeOf(c)).Elem()
			f.fill(command)
			value.FieldByName("Command").Set(command)
		}
		out = append(out, value.Interface().(T))
	}
	return out
}

// random fills v with anything it may be.
func random(t *rapid.T, v reflect.Value, field string) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		if rapid.Bool().Draw(t, "time") {
			v.Set(reflect.ValueOf(time.UnixMicro(rapid.Int64Range(-1<<50, 1<<55).Draw(t, "micros")).UTC()))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, field))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, field))
	case reflect.Int:
		if field == "Shard" {
			v.SetInt(int64(rapid.IntRange(0, chat.Shards-1).Draw(t, field)))
		} else {
			v.SetInt(rapid.Int64().Draw(t, field))
		}
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, field)))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, field))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, field))
	case reflect.Array:
		for i := range v.Len() {
			if v.Type() != reflect.TypeFor[chat.ShardSet]() || rapid.IntRange(0, 3).Draw(t, "word") == 0 {
				random(t, v.Index(i), field)
			}
		}
	case reflect.Slice:
		switch n := rapid.IntRange(-1, 3).Draw(t, "len"); n {
		case -1:
		default:
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				if e := v.Index(i); e.Kind() == reflect.Pointer {
					e.Set(reflect.New(e.Type().Elem()))
					random(t, e.Elem(), field)
				} else {
					random(t, e, field)
				}
			}
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "present") {
			v.Set(reflect.New(v.Type().Elem()))
			random(t, v.Elem(), field)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			random(t, v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[chat.Command]() {
			v.Set(reflect.ValueOf(randomOf(t, commands)))
		} else {
			v.Set(reflect.ValueOf(randomOf(t, peopleCommands)))
		}
	}
}

func randomOf[T any](t *rapid.T, list []T) T {
	v := reflect.New(reflect.TypeOf(rapid.SampledFrom(list).Draw(t, "type"))).Elem()
	random(t, v, "")
	return v.Interface().(T)
}

package scenario

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/zumodra/hub/bench/arrival"
)

type object = map[string]any

// Schema is the JSON schema (draft 2020-12) of scenario files, for editors. It knows names, types and enumerations; that parts of a
// scenario agree with one another, Decode checks.
func Schema() []byte {
	root := schemaOf(reflect.TypeFor[Scenario]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "A scenario of hubbench"
	root["required"] = []string{"duration", "users"}
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return []byte("false") // the schema that nothing fulfils; maps of strings have no reason
	}
	return append(b, '\n')
}

func enum[T ~string](all []T) object {
	return object{"type": "string", "enum": all}
}

// text with a form.
func text(pattern, example string) object {
	return object{"type": "string", "pattern": pattern, "examples": []string{example}}
}

// schemaOf a type of a scenario. What may be left out may be null as well.
func schemaOf(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[time.Duration]():
		return object{"anyOf": []object{{"const": 0}, text(`^[-+]?([0-9]*(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`, "10s")}}
	case reflect.TypeFor[Op]():
		return enum(Ops())
	case reflect.TypeFor[Do]():
		return enum(Dos())
	case reflect.TypeFor[arrival.Kind]():
		return enum(arrival.Kinds())
	case reflect.TypeFor[Threshold]():
		return text(thresholdForm.String(), "ack.p99 <= 50ms")
	case reflect.TypeFor[Size]():
		return object{"anyOf": []object{{"type": "integer"}, structOf(t)}}
	case reflect.TypeFor[arrival.Spec]():
		return object{"anyOf": []object{text(`^\s*[0-9.eE+]+\s*/\s*[smh]\s*$`, "200/s"), structOf(t)}}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": []string{"string", "number"}} // node: 1
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	default:
		return structOf(t)
	}
}

func structOf(t reflect.Type) object {
	properties := object{}
	for i, name := range known(t) {
		properties[name] = object{"anyOf": []object{schemaOf(t.Field(i).Type), {"type": "null"}}}
	}
	if t == reflect.TypeFor[System]() {
		properties["store"] = enum([]string{"embedded", "cassandra"})
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

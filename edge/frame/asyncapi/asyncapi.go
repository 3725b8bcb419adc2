package asyncapi

import (
	"bytes"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/zumodra/hub/edge/frame"
)

type object = map[string]any

// document has its fields in the order in which people read them.
type document struct {
	AsyncAPI           string     `yaml:"asyncapi"`
	Info               info       `yaml:"info"`
	DefaultContentType string     `yaml:"defaultContentType"`
	Servers            object     `yaml:"servers"`
	Channels           object     `yaml:"channels"`
	Operations         object     `yaml:"operations"`
	Components         components `yaml:"components"`
}

type info struct {
	Title       string `yaml:"title"`
	Version     string `yaml:"version"`
	Description string `yaml:"description"`
}

type components struct {
	Messages        object `yaml:"messages"`
	Schemas         object `yaml:"schemas"`
	SecuritySchemes object `yaml:"securitySchemes"`
}

const (
	allChannel    = "all"          // of all conversations
	singleChannel = "conversation" // of one
)

// Document returns the AsyncAPI document as YAML.
func Document() ([]byte, error) {
	d := document{
		AsyncAPI: "3.0.0", DefaultContentType: "application/json",
		Info: info{"hub WebSocket protocol", "1", "JSON text frames, one object a frame. Every request may carry ref, which its answer " +
			"echoes. The first frame of a connection is status. An error of a request is answered by an error frame and never closes " +
			"the connection.\n\nClose codes: " + closeCodes()},
		Servers: object{"hub": object{
			"host": "{host}", "protocol": "wss", "description": "ws without TLS.",
			"variables": object{"host": object{"default": "localhost:8080"}},
			"security":  []any{reference("securitySchemes", "bearer"), reference("securitySchemes", "token"), reference("securitySchemes", "session")},
		}},
		Components: components{Messages: object{}, Schemas: schemas(), SecuritySchemes: object{
			"bearer":  object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Or as the subprotocols bearer, <jwt>."},
			"token":   object{"type": "httpApiKey", "in": "query", "name": "token"},
			"session": object{"type": "httpApiKey", "in": "cookie", "name": "sessionid"},
		}},
	}
	names := make(object)
	channel := make(map[bool][]any) // references by who sends
	for i := range frame.Types {
		f := &frame.Types[i]
		name := messageName(f)
		d.Components.Messages[name] = message(f)
		names[name] = reference("messages", name)
		channel[f.FromClient] = append(channel[f.FromClient], name)
	}
	d.Channels = object{
		allChannel: object{"address": "/ws/", "title": "All conversations",
			"description": "Each frame about a conversation names it by conversation_id.", "messages": names},
		singleChannel: object{"address": "/ws/chat/{conversation_id}/", "title": "One conversation",
			"description": "Requests need not name the conversation.", "messages": names,
			"parameters": object{"conversation_id": object{"description": "With hyphens, or as 32 hexadecimal digits."}}},
	}
	d.Operations = make(object)
	for _, c := range []string{allChannel, singleChannel} {
		for fromClient, action := range map[bool]string{true: "receive", false: "send"} {
			var messages []any
			for _, name := range channel[fromClient] {
				messages = append(messages, object{"$ref": fmt.Sprintf("#/channels/%s/messages/%s", c, name)})
			}
			d.Operations[action+strings.ToUpper(c[:1])+c[1:]] = object{"action": action,
				"channel": object{"$ref": "#/channels/" + c}, "messages": messages}
		}
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("asyncapi: %w", err)
	}
	return b.Bytes(), e.Close()
}

func reference(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// messageName tells apart types that both sides send.
func messageName(f *frame.FrameType) string {
	if f.FromClient {
		return "client_" + f.Name
	}
	return "server_" + f.Name
}

func message(f *frame.FrameType) object {
	properties := object{"type": object{"type": "string", "const": f.Name}}
	required := []string{"type"}
	for _, x := range f.Fields {
		properties[x.Name] = schema(x)
		if x.Required {
			required = append(required, x.Name)
		}
	}
	if f.FromClient {
		properties["ref"] = reference("schemas", "ref")
		if _, own := properties["conversation_id"]; f.InConversation && !own {
			properties["conversation_id"] = object{"description": "Required on /ws/.", "allOf": []any{reference("schemas", "uuid")}}
		}
	}
	m := object{"name": f.Name, "title": f.Name, "summary": f.Doc,
		"payload": object{"type": "object", "required": required, "properties": properties}}
	if f.Event != "" {
		m["description"] = "Internal name of the event: " + f.Event + "."
	}
	return m
}

// schemas are those of frame.Field.Kind, and of codes.
func schemas() object {
	return object{
		"uuid": object{"type": "string", "format": "uuid", "description": "Canonical, with hyphens; requests may leave them out."},
		"user": object{"type": []string{"string", "integer"}, "description": "A number where it is a canonical integer below 2^53, a string otherwise."},
		"time": object{"type": "string", "format": "date-time", "description": "RFC 3339, UTC, with microseconds; a search may give a date."},
		"ref":  object{"type": []string{"string", "number"}, "description": fmt.Sprintf("Up to %d bytes.", frame.MaxRef)},
		"code": object{"type": "string", "enum": frame.Codes},
	}
}

func schema(x frame.Field) object {
	kind := x.Kind
	array := strings.HasPrefix(kind, "[")
	kind = strings.Trim(kind, "[]")
	var s object
	switch {
	case x.Name == "code":
		s = reference("schemas", "code")
	case kind == "": // as sent
		s = reference("schemas", "ref")
	case kind == "bool":
		s = object{"type": "boolean"}
	case kind == "uuid" || kind == "user" || kind == "time":
		s = reference("schemas", kind)
	case strings.Contains(kind, " or "):
		s = object{"type": strings.Split(kind, " or ")}
	default:
		s = object{"type": kind}
	}
	if array {
		s = object{"type": "array", "items": s}
	}
	if x.Doc == "" {
		return s
	}
	if _, ref := s["$ref"]; ref {
		s = object{"allOf": []any{s}}
	}
	s["description"] = x.Doc
	return s
}

func closeCodes() string {
	var b strings.Builder
	for i, c := range frame.CloseCodes {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%d %s", c.Code, c.Doc)
	}
	return b.String() + "."
}

package asyncapi

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"github.com/zumodra/hub/edge/frame"
)

//go:embed page.html
var pageText string

// Page returns the protocol as a web page without scripts.
func Page() ([]byte, error) {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("asyncapi: %w", err)
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"Types": frame.Types, "Outcomes": frame.Outcomes, "CloseCodes": frame.CloseCodes})
	if err != nil {
		return nil, fmt.Errorf("asyncapi: %w", err)
	}
	return b.Bytes(), nil
}

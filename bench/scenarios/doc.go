// Package scenarios holds the scenarios that come with hubbench, and schema.json, the JSON schema of their files.
package scenarios

import "embed"

// Files are the scenarios, NAME.yaml each.
//
//go:embed *.yaml
var Files embed.FS

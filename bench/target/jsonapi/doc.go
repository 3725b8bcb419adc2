// Package jsonapi asks servers over HTTP by POST with JSON, as the API of many of them wants it.
package jsonapi

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// sendText is a send_message command. {n} is filled in by the client.
func sendText(conversation, run, content string) string {
	return fmt.Sprintf(`{"type":"send_message","conversation_id":%q,"client_id":"%s-{n}","content":%q}`, conversation, run, content)
}

// counterText replaces {n} in a payload.
func counterText(text string, n int) []byte {
	return []byte(strings.ReplaceAll(text, "{n}", strconv.Itoa(n)))
}

// payload is text of n bytes.
func payload(n int) []byte {
	return []byte(strings.Repeat("a message of some length ", n/25+1)[:n])
}

//go:build !reactor_portable

package reactor

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls keeps two buffers of a connection for its life: rawInput, as large as the largest record was, and hand, as
// large as the ClientHello (1.7 KiB with a post-quantum key share). Together they were half of the memory of an idle
// connection. An empty buffer is worth nothing but the allocation of the next one, and nothing that was cut from it is
// touched by forgetting it; there is no way to say so but to reach for the fields. Where they are not what is expected,
// nothing is given back, and a test fails for somebody to look.

// keepRawInput is the size of rawInput that is kept: that of small records.
const keepRawInput = 1 << 10

var rawInputAt, handAt = bufferAt("rawInput"), bufferAt("hand")

// bufferAt finds the place of a buffer in tls.Conn, 0 if there is none of that name.
func bufferAt(name string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return 0
	}
	return f.Offset
}

// releaseBuffers gives back empty buffers of c. The caller is the only one who uses c.
func releaseBuffers(c *tls.Conn) {
	for _, x := range [...]struct {
		at   uintptr
		keep int
	}{{rawInputAt, keepRawInput}, {handAt, 0}} {
		if x.at == 0 {
			continue
		}
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), x.at)); b.Len() == 0 && b.Cap() > x.keep {
			*b = bytes.Buffer{}
		}
	}
}

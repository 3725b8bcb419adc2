package attachment

import (
	"bytes"
	"slices"
)

// MaxSize is the largest file, in bytes.
const MaxSize = 50 << 20

// Kind is a type of files.
type Kind struct {
	Ext   string // without the dot
	Type  string // media type that it is served as
	Voice bool   // may be a voice message
	Image bool   // there may be a smaller picture of it
	text  bool
	// Content begins with one of magic …
	magic [][]byte
	// … or is judged by this function.
	match func(head []byte) bool
	// What the library may take the content for, beside what says nothing. A type of the list stands for those that
	// are special cases of it, but for the ones in not.
	is, not []string
}

const (
	typeZip  = "application/zip"
	typeOLE  = "application/x-ole-storage"
	typeDocx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	typeXlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
)

var (
	magicZip = [][]byte{[]byte("PK\x03\x04"), []byte("PK\x05\x06")} // the second is an empty archive
	magicOLE = [][]byte{{0xD0, 0xCF, 0x11, 0xE0}}
	magicJPG = [][]byte{{0xFF, 0xD8, 0xFF}}
	// ISO media files begin with a box of these types, after its length.
	mp4Boxes = [][]byte{[]byte("ftyp"), []byte("moov"), []byte("mdat"), []byte("free"), []byte("skip"), []byte("wide")}
	archives = []string{"application/java-archive", "application/vnd.android.package-archive"}
	oleOther = []string{"application/x-ms-installer", "application/vnd.ms-outlook", "application/vnd.ms-powerpoint", "application/vnd.ms-publisher"}
)

// kinds are the 17 types of contract §5.
var kinds = []Kind{
	{Ext: "pdf", Type: "application/pdf", magic: [][]byte{[]byte("%PDF")}, is: []string{"application/pdf"}},
	{Ext: "jpg", Type: "image/jpeg", Image: true, magic: magicJPG, is: []string{"image/jpeg"}},
	{Ext: "jpeg", Type: "image/jpeg", Image: true, magic: magicJPG, is: []string{"image/jpeg"}},
	{Ext: "png", Type: "image/png", Image: true, magic: [][]byte{[]byte("\x89PNG")}, is: []string{"image/png", "image/vnd.mozilla.apng"}},
	{Ext: "gif", Type: "image/gif", Image: true, magic: [][]byte{[]byte("GIF87a"), []byte("GIF89a")}, is: []string{"image/gif"}},
	{Ext: "doc", Type: "application/msword", magic: magicOLE, is: []string{typeOLE}, not: oleOther},
	{Ext: "docx", Type: typeDocx, magic: magicZip[:1], is: []string{typeDocx}},
	{Ext: "xlsx", Type: typeXlsx, magic: magicZip[:1], is: []string{typeXlsx}},
	{Ext: "xls", Type: "application/vnd.ms-excel", magic: magicOLE, is: []string{typeOLE}, not: oleOther},
	{Ext: "txt", Type: "text/plain; charset=utf-8", text: true},
	{Ext: "csv", Type: "text/csv; charset=utf-8", text: true},
	{Ext: "mp4", Type: "video/mp4", match: isMP4, is: []string{"video/mp4"},
		not: []string{"image/avif", "image/heic", "image/heic-sequence", "image/heif", "image/heif-sequence"}},
	{Ext: "mp3", Type: "audio/mpeg", Voice: true, match: isMP3, is: []string{"audio/mpeg"}},
	{Ext: "wav", Type: "audio/wav", Voice: true, match: isWAV, is: []string{"audio/wav"}},
	{Ext: "webm", Type: "video/webm", Voice: true, magic: [][]byte{{0x1A, 0x45, 0xDF, 0xA3}}, is: []string{"video/webm"}},
	{Ext: "ogg", Type: "audio/ogg", Voice: true, magic: [][]byte{[]byte("OggS")}, is: []string{"application/ogg"}},
	{Ext: "zip", Type: typeZip, magic: magicZip, is: []string{typeZip}, not: archives},
}

// blocked are the 21 extensions that a name must not have anywhere.
var blocked = []string{"exe", "bat", "cmd", "sh", "ps1", "vbs", "js", "jar", "msi", "dll", "scr", "php", "asp", "aspx", "jsp",
	"cgi", "py", "rb", "pl", "htaccess", "htpasswd"}

// Extensions lists the allowed ones.
func Extensions() []string {
	list := make([]string, len(kinds))
	for i := range kinds {
		list[i] = kinds[i].Ext
	}
	return list
}

// Blocked lists the extensions that are refused wherever in a name they are.
func Blocked() []string { return slices.Clone(blocked) }

func kindOf(ext string) *Kind {
	for i := range kinds {
		if kinds[i].Ext == ext {
			return &kinds[i]
		}
	}
	return nil
}

// TypeOf is the media type that a file of that name is served as; "application/octet-stream" if it is none that is allowed.
func TypeOf(name string) string {
	parts := extensions(name)
	if k := kindOf(parts[len(parts)-1]); k != nil {
		return k.Type
	}
	return "application/octet-stream"
}

func isMP4(head []byte) bool {
	return len(head) >= 8 && slices.ContainsFunc(mp4Boxes, func(b []byte) bool { return bytes.Equal(head[4:8], b) })
}

// isMP3 knows the tag that precedes the sound, and the beginning of a frame of MPEG layer III.
func isMP3(head []byte) bool {
	return bytes.HasPrefix(head, []byte("ID3")) || len(head) >= 2 && head[0] == 0xFF && head[1]&0xE6 == 0xE2
}

func isWAV(head []byte) bool {
	return len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WAVE"
}

// begins reports whether content that begins with head may be of the kind.
func (k *Kind) begins(head []byte) bool {
	if k.match != nil {
		return k.match(head)
	}
	return slices.ContainsFunc(k.magic, func(m []byte) bool { return bytes.HasPrefix(head, m) })
}

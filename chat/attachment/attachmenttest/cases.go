package attachmenttest

import (
	"archive/zip"
	"bytes"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"

	"github.com/zumodra/hub/chat/attachment"
)

// Case is one file and what becomes of it.
type Case struct {
	What    string
	Name    string
	Voice   bool
	Content []byte
	Want    string // text of the refusal; empty: accepted
	Safe    string // the name that it gets; empty: Name
}

func zipped(names ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range names {
		f, err := w.Create(n)
		if err != nil {
			panic(err) // of a buffer
		}
		if _, err := f.Write([]byte("<x/>")); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Picture encodes a picture of that size as gif, jpg or png.
func Picture(ext string, width, height int) []byte {
	var b bytes.Buffer
	var err error
	m := image.NewPaletted(image.Rect(0, 0, width, height), gifColors)
	for i := range m.Pix {
		m.Pix[i] = uint8(i / 7 % len(gifColors))
	}
	switch ext {
	case "gif":
		err = gif.Encode(&b, m, nil)
	case "png":
		err = png.Encode(&b, m)
	default:
		err = jpeg.Encode(&b, m, nil)
	}
	if err != nil {
		panic(err) // of a buffer
	}
	return b.Bytes()
}

// Sample is content that an allowed extension is right for.
func Sample(ext string) []byte {
	ole := append([]byte{0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1}, make([]byte, 600)...)
	switch ext {
	case "pdf":
		return []byte("%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n")
	case "jpg", "jpeg", "png", "gif":
		return Picture(ext, 8, 6)
	case "doc", "xls":
		return ole
	case "docx":
		return zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml")
	case "xlsx":
		return zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml")
	case "zip":
		return zipped("letter.txt")
	case "txt":
		return []byte("Grüße, 世界 🌍\n")
	case "csv":
		return []byte("name,city\nJosé,Zürich\n")
	case "mp4":
		return []byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x00\x08mdat")
	case "mp3":
		return append([]byte("ID3\x04\x00\x00\x00\x00\x00\x00\xFF\xFB\x90\x64"), make([]byte, 400)...)
	case "wav":
		return append([]byte("RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"), make([]byte, 40)...)
	case "webm":
		return []byte("\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\xF7\x81\x01\x42\xF2\x81\x04\x42\xF3\x81\x08\x42\x82\x84webm\x42\x87\x81\x04")
	case "ogg":
		return append([]byte("OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x01\x13OpusHead\x01\x02"), make([]byte, 40)...)
	}
	panic("attachmenttest: no sample of ." + ext)
}

// mismatch is what content gets that is not what its extension says.
const mismatch = "File content does not match file extension"

// Cases is the table of requirements 62 to 67, but for the limit of size.
func Cases() []Case {
	var list []Case
	add := func(c Case) { list = append(list, c) }
	voice := []string{"mp3", "wav", "webm", "ogg"}
	for _, ext := range attachment.Extensions() {
		add(Case{What: "allowed", Name: "Report 1." + ext, Content: Sample(ext)})
		add(Case{What: "allowed in capitals", Name: "a." + strings.ToUpper(ext), Content: Sample(ext)})
		c := Case{What: "as a voice message", Name: "a." + ext, Voice: true, Content: Sample(ext)}
		if !slices.Contains(voice, ext) {
			c.Want = "File type ." + ext + " is not supported"
		}
		add(c)
		exe := append([]byte("MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xFF\xFF\x00\x00"), make([]byte, 200)...)
		add(Case{What: "a program", Name: "a." + ext, Content: exe, Want: mismatch})
		add(Case{What: "nothing", Name: "a." + ext, Content: []byte{}, Want: "Invalid file data"})
	}
	for _, ext := range attachment.Blocked() {
		no := "File type ." + ext + " is not allowed"
		add(Case{What: "blocked", Name: "a." + ext, Content: []byte("x"), Want: no})
		add(Case{What: "blocked in mixed case", Name: "a." + strings.ToUpper(ext[:1]) + ext[1:], Content: []byte("x"), Want: no})
		add(Case{What: "blocked inside", Name: "a." + ext + ".jpg", Content: Sample("jpg"), Want: no})
		add(Case{What: "blocked alone", Name: "." + ext, Content: []byte("x"), Want: no})
		add(Case{What: "blocked before a dot", Name: "a." + ext + ".", Content: []byte("x"), Want: no})
	}
	for _, ext := range []string{"svg", "html", "htm", "xml", "bin", "tar", "7z", "webp", "com", "iso"} {
		add(Case{What: "not on the list", Name: "a." + ext, Content: []byte("x"), Want: "File type ." + ext + " is not supported"})
	}
	// What begins like one type is none of the others, text included; the two names of a type, and the types that are
	// archives or compounds of the same kind, are the exceptions.
	same := [][]string{{"jpg", "jpeg"}, {"zip", "docx"}, {"zip", "xlsx"}, {"doc", "xls"}}
	for _, is := range attachment.Extensions() {
		if is == "txt" || is == "csv" {
			continue
		}
		for _, named := range attachment.Extensions() {
			c := Case{What: is + " named " + named, Name: "a." + named, Content: Sample(is)}
			if is != named && !slices.ContainsFunc(same, func(s []string) bool { return slices.Contains(s, is) && slices.Contains(s, named) }) {
				c.Want = mismatch
			}
			add(c)
		}
	}
	for what, content := range map[string][]byte{
		"Latin-1": []byte("Gr\xFC\xDFe"), "a NUL": []byte("a\x00b"), "cut in a character": []byte("caf\xC3"), "a surrogate": []byte("\xED\xA0\x80"),
		"UTF-16": []byte("\xFF\xFEa\x00"), "late": append(bytes.Repeat([]byte("ü"), 40_000), 0xFF),
	} {
		add(Case{What: "text: " + what, Name: "a.txt", Content: content, Want: mismatch})
		add(Case{What: "text: " + what, Name: "a.csv", Content: content, Want: mismatch})
	}
	add(Case{What: "long text", Name: "a.txt", Content: bytes.Repeat([]byte("世界ü🌍 "), 20_000)})
	add(Case{What: "text like a picture's", Name: "a.txt", Content: []byte("BMW 320i, MZ 250, P4\n")})
	jar := zipped("META-INF/MANIFEST.MF", "A.class")
	add(Case{What: "a program as an archive", Name: "a.zip", Content: jar, Want: mismatch})
	for in, safe := range map[string]string{
		"../../etc/passwd.txt": "passwd.txt", `..\..\win.txt`: "win.txt", "/tmp/a.txt": "a.txt", "a\x00b.txt": "ab.txt",
		"a\r\nb.txt": "ab.txt", "\u202Etxt.exe.txt": "", "Übung 1.txt": "Übung 1.txt", " a.txt ": "a.txt", "a.txt..": "a.txt",
		strings.Repeat("x", 300) + ".txt": strings.Repeat("x", 251) + ".txt", strings.Repeat("ü", 200) + ".txt": strings.Repeat("ü", 125) + ".txt",
	} {
		c := Case{What: "name", Name: in, Safe: safe, Content: Sample("txt")}
		if safe == "" {
			c.Want = "File type .exe is not allowed"
		}
		add(c)
	}
	add(Case{What: "name", Name: "a..pdf", Content: Sample("pdf"), Want: "File type .apdf is not supported"})
	for _, none := range []string{"..", "../..", "dir/", "\x00", "   "} {
		add(Case{What: "no name", Name: none, Content: Sample("txt"), Want: "No filename provided"})
	}
	return list
}

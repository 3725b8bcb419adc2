// Package attachment holds the rules about files in messages (contract §5): which names and extensions are allowed,
// how a name is made safe, and whether content is what its extension says. One list serves every way in: REST,
// resumable uploads and sockets.
//
// Content is looked at while it streams by: its first bytes are compared with known signatures (the maintained list of
// gabriel-vasile/mimetype), text is checked as UTF-8 to the last byte, and the size is counted. Nothing is kept but the
// first HeadSize bytes.
//
// The package does no I/O of its own and knows neither stores nor protocols.
package attachment

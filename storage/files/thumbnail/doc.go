// Package thumbnail makes a small picture of a large one. What it is given comes from anybody: the size that a picture
// claims, and how it is stored, is looked at before it is decoded, so that a few bytes cannot ask for more than 200 MB of memory, and the decoder
// loses its input when the time is over. It knows JPEG, PNG, GIF (the first picture) and WebP.
package thumbnail

// Package codectest has what the tests of all codecs do: read frames, and look at what they mean, what is sent and what that
// allocates. Only tests import it.
package codectest

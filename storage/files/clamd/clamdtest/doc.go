// Package clamdtest is a stand-in for a ClamAV daemon that knows the command INSTREAM and is strict about it: what is not
// exactly the protocol is a failure of the test. It finds the EICAR test file and nothing else.
package clamdtest

// Package terminal is a chat program of lines: what is typed is sent, what arrives is printed. It is the
// program behind `hub chat`, works in a pipe as in a terminal, and shows how package client is used.
//
// Nothing that others sent reaches the terminal as a control sequence. Run starts one goroutine that reads the
// input and one that runs the client, and waits for the latter; the reader of an input that never ends cannot
// be stopped and ends with the program.
package terminal

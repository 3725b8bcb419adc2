// Package doctor says what of this machine limits a load run: each limit with its value, what it caps in numbers of connections or in
// the worth of the figures, and what to do. It looks only: nothing is changed, and nothing is loaded. What it knows is Linux.
package doctor

// Package target speaks to the systems that hubbench can load: their protocol, and what is needed to prepare a run and to read
// its outcome. It knows nothing of schedules and of figures.
package target

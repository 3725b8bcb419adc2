// Package chaos does to a running system what a scenario lists, at its times, and undoes it: processes are killed, stopped,
// drained and started, links are cut and slowed down, stores become unreachable, clocks jump.
//
// New checks the whole list before anything is done: names, values, what the system is able to, and the order (a node that does
// not run cannot be killed). Run carries it out. Actions on one thing of one node, such as its process or its clock, are done
// one after the other, however long each takes; all others at their times. Whatever happens, Run returns only when everything
// that it did is undone, but for nodes that are to stay dead: kill or drain without a duration.
//
// The package knows no system: a Driver does the work. That of package system is one.
package chaos

// Package control runs a scenario: it prepares the target, has workers join, here or on other machines, opens all connections,
// starts the load everywhere at the same time, has chaos done meanwhile, collects what the workers measured and saw, and judges.
//
// Workers come to the controller, over one WebSocket each, and have to present its token. A plan holds the secrets of the
// target: use a private network, or the loopback.
package control

// Package scenario says what a run of hubbench does: who is connected, who talks where and how often, what is done to the target
// meanwhile and which figures are expected. Scenarios are strict YAML files; bench/scenarios has those that come with hubbench.
package scenario

//go:build !linux

package main

func favoured(start func() error) error { return start() }

//go:build !linux

package measure

import "errors"

func (m *Machine) read() {}

// KernelMemory is known on Linux alone; 0 elsewhere.
func KernelMemory() int64 { return 0 }

// RSS is known on Linux alone; 0 elsewhere.
func RSS(int) int64 { return 0 }

func sampleOf(int) (Sample, error) {
	return Sample{}, errors.New("processes are watched on Linux alone")
}

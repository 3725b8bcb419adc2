package pebble

// Metrics is the state of the engine at one moment. Counters begin at zero with Open.
type Metrics struct {
	DiskBytes      uint64 // what the store takes on disk
	FreeBytes      uint64 // of the disk; 0 if unknown
	LogBytes       uint64 // of write-ahead log not yet flushed
	MemTableBytes  uint64
	CacheBytes     int64
	CacheHits      int64 // counter
	CacheMisses    int64 // counter
	Files          int64 // tables
	Level0Files    int64
	ReadAmp        int    // files or levels that a read may have to look at
	CompactionDebt uint64 // bytes to compact until the tree is in shape
	Flushes        int64  // counter
	Compactions    int64  // counter
	WriteStalls    uint64 // counter
	SlowDisk       uint64 // counter: operations that took longer than Config.SlowDisk
	SweptRows      uint64 // counter: expired rows removed
}

// Metrics returns the engine's metrics, zero after Close. It takes a lock of pebble's: seconds apart is fine.
func (e *Engine) Metrics() Metrics {
	if !e.gate.enter() {
		return Metrics{}
	}
	defer e.end()
	m := e.db.Metrics()
	out := Metrics{
		DiskBytes: m.DiskSpaceUsage(), LogBytes: m.WAL.Size, MemTableBytes: m.MemTable.Size,
		CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		Level0Files: m.Levels[0].TablesCount, ReadAmp: m.ReadAmp(), CompactionDebt: m.Compact.EstimatedDebt,
		Flushes: m.Flush.Count, Compactions: m.Compact.Count, WriteStalls: e.watch.stalls.Load(),
		SlowDisk: e.watch.slow.Load(), SweptRows: e.sweep.removed.Load(),
	}
	for i := range m.Levels {
		out.Files += m.Levels[i].TablesCount
	}
	if e.watch.known.Load() {
		out.FreeBytes = e.watch.free.Load()
	}
	return out
}

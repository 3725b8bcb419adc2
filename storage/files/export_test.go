package files

// ThumbTime is how long a thumbnail may take.
const ThumbTime = thumbTime

// CountInMemory says of how many tenants uploads are counted in memory, before any was.
func (f *Files) CountInMemory(n int) { f.quotas.max = n }

package pebble

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/storage"
)

// Layout of pebble's write-ahead log, as its package record documents it: blocks of 32 KiB hold chunks that do not cross
// them; a chunk is checksum (4), length (2), type (1), low bits of the log's number (4), in types 9 to 12 the offset up to
// which the log was synced when the chunk was written (8), and the payload.
const (
	walBlock      = 32 << 10
	walHeader     = 11
	walSyncHeader = walHeader + 8
	walSyncFirst  = 9
	walSyncLast   = 12
	walFirst      = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkLogs looks for damage before the synced end of the newest log. Recovery ends at the first bad chunk of the newest
// log, for that is what a torn tail looks like, and asks only the blocks after the bad one whether they promise that it
// had been synced; damage with less than a block of log behind it would silently lose acknowledged writes. This looks at
// every byte behind. Older logs must be whole, of which recovery takes care itself.
func checkLogs(fs vfs.FS, dir string) error {
	newest, number, err := newestLog(fs, dir)
	if err != nil {
		return err
	}
	if newest == "" {
		return nil
	}
	b, err := readFile(fs, fs.PathJoin(dir, newest))
	if err != nil {
		return err
	}
	if bad, promise := damagedBefore(b, uint32(number)); promise > 0 {
		return fmt.Errorf("%w: log %s is damaged at byte %d although it had been synced up to byte %d: acknowledged "+
			"writes are lost; restore a backup, or keep what precedes the damage by truncating the log there",
			storage.ErrCorrupt, fs.PathJoin(dir, newest), bad, promise)
	}
	return nil
}

// damagedBefore returns where the first bad chunk is and the synced offset beyond it that a later chunk promises, 0 if
// none does.
func damagedBefore(b []byte, number uint32) (bad int, promise uint64) {
	bad = wholeChunks(b, number)
	for at := bad + 1; at < len(b); at++ {
		if _, synced, ok := walChunk(b, at, number); ok && synced > uint64(bad) {
			return bad, synced
		}
	}
	return bad, 0
}

// wholeChunks returns where the first bad chunk is.
func wholeChunks(b []byte, number uint32) (bad int) {
	for bad < len(b) {
		next, _, ok := walChunk(b, bad, number)
		if !ok {
			end := min(bad-bad%walBlock+walBlock, len(b))
			if end-bad >= walSyncHeader || !allZero(b[bad:end]) {
				break
			}
			next = end // too short for a chunk: padding
		}
		bad = next
	}
	return bad
}

// walChunk parses the chunk at offset at and returns where the next one begins.
func walChunk(b []byte, at int, number uint32) (next int, synced uint64, ok bool) {
	end := min(at-at%walBlock+walBlock, len(b))
	if end-at < walHeader || b[at+6] < walFirst || b[at+6] > walSyncLast || binary.LittleEndian.Uint32(b[at+7:]) != number {
		return 0, 0, false
	}
	header := walHeader
	if b[at+6] >= walSyncFirst {
		if header = walSyncHeader; end-at < header {
			return 0, 0, false
		}
		synced = binary.LittleEndian.Uint64(b[at+walHeader:])
	}
	next = at + header + int(binary.LittleEndian.Uint16(b[at+4:]))
	if next > end {
		return 0, 0, false
	}
	sum := crc32.Checksum(b[at+6:next], castagnoli)
	return next, synced, (sum>>15|sum<<17)+0xa282ead8 == binary.LittleEndian.Uint32(b[at:])
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// ContentRef names content in the store of blobs: its hash, the generation of its copy and the reference that keeps it.
type ContentRef struct {
	Sum        [32]byte
	Generation uint64
	Ref        string // empty: there is no content
	Size       int64
}

// ThumbState says what is known of the small picture of a file.
type ThumbState uint8

const (
	ThumbUnknown ThumbState = 0 // nobody has asked for it
	ThumbMade    ThumbState = 1
	ThumbRefused ThumbState = 2 // the file is no picture that could be made smaller
)

// FileRow is one row of TableFiles.
type FileRow struct {
	Tenant chat.TenantID
	chat.Upload
	Content   ContentRef   // from UploadReady on; of its size the Upload tells
	Parts     []ContentRef // while UploadReceiving, in order
	ChangedAt time.Time    // of State
	After     uint64       // the head of the conversation when the file was claimed: the message comes behind it
	ClientID  string       // of the message that it was claimed for
	Thumb     ThumbState
	ThumbAt   ContentRef // of ThumbMade; without its size
}

// Key is for logs and errors.
func (f *FileRow) Key() fmt.Stringer { return fileKey{f.Tenant, f.ID} }

type fileKey struct {
	tenant chat.TenantID
	id     chat.FileID
}

func (k fileKey) String() string { return "file " + string(k.tenant) + "/" + k.id.String() }

func filePartition(tenant chat.TenantID, id *chat.FileID) Key { return Key{text(tenant), blob(id[:])} }

func optionalBlob[T ~[16]byte](id *T) Value {
	if *id == (T{}) {
		return Value{}
	}
	return blob((*id)[:])
}

func (f *FileRow) columns() []Value {
	c := make([]Value, fileColumns)
	c[fileOwner], c[fileState], c[fileName], c[fileType] = text(f.Owner), number(uint64(f.State)), text(f.Name), text(f.Type)
	c[fileVoice] = boolean(f.Voice)
	c[fileSizeColumn], c[fileOffset] = number(uint64(f.Size)), number(uint64(f.Offset))
	c[fileParts] = blob(appendContents(nil, f.Parts)) // set also when it is empty, which it becomes
	c[fileRef] = text(f.Content.Ref)
	if f.Content.Ref != "" {
		c[fileSum], c[fileGeneration] = blob(f.Content.Sum[:]), number(f.Content.Generation)
	}
	c[fileCreatedAt], c[fileExpiresAt], c[fileChangedAt] = moment(f.CreatedAt), moment(f.ExpiresAt), moment(f.ChangedAt)
	// A claim can be taken back: what it wrote is overwritten then, and never unset.
	c[fileConversation], c[fileAfter], c[fileClientID] = blob(f.Conversation[:]), number(f.After), text(f.ClientID)
	c[fileMessage] = optionalBlob(&f.Message)
	c[fileDownloads] = number(f.Downloads)
	c[fileThumbState], c[fileThumbRef] = number(uint64(f.Thumb)), text(f.ThumbAt.Ref)
	if f.ThumbAt.Ref != "" {
		c[fileThumbSum], c[fileThumbGeneration] = blob(f.ThumbAt.Sum[:]), number(f.ThumbAt.Generation)
	}
	return c
}

func decodeFileRow(tenant chat.TenantID, id chat.FileID, c []Value) (f FileRow, err error) {
	f.Tenant, f.ID = tenant, id
	f.Owner, f.Name, f.Type, f.Voice = chat.UserID(c[fileOwner].string()), c[fileName].string(), c[fileType].string(), c[fileVoice].bool()
	if f.State, err = small(c[fileState], chat.UploadRemoved, "state"); err != nil {
		return f, err
	}
	f.File.Size, f.Offset = c[fileSizeColumn].I, c[fileOffset].I
	if f.Parts, err = decodeContents(c[fileParts].B); err != nil {
		return f, err
	}
	if f.Content = (ContentRef{Generation: c[fileGeneration].uint(), Ref: c[fileRef].string()}); f.Content.Ref != "" {
		f.Content.Size = f.File.Size
	}
	copy(f.Content.Sum[:], c[fileSum].B)
	f.Sum = f.Content.Sum
	f.CreatedAt, f.ExpiresAt, f.ChangedAt = c[fileCreatedAt].time(), c[fileExpiresAt].time(), c[fileChangedAt].time()
	if f.Conversation, err = c[fileConversation].uuid("conversation"); err != nil {
		return f, err
	}
	f.After, f.ClientID = c[fileAfter].uint(), c[fileClientID].string()
	if f.Message, err = c[fileMessage].uuid("message"); err != nil {
		return f, err
	}
	f.Downloads = c[fileDownloads].uint()
	f.ThumbAt = ContentRef{Generation: c[fileThumbGeneration].uint(), Ref: c[fileThumbRef].string()}
	copy(f.ThumbAt.Sum[:], c[fileThumbSum].B)
	f.Thumb, err = small(c[fileThumbState], ThumbRefused, "state of the thumbnail")
	return f, err
}

func appendContents(b []byte, list []ContentRef) []byte {
	if len(list) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = append(b, list[i].Sum[:]...)
		b = binary.AppendUvarint(b, list[i].Generation)
		b = appendString(b, list[i].Ref)
		b = binary.AppendUvarint(b, uint64(list[i].Size))
	}
	return b
}

func decodeContents(b []byte) ([]ContentRef, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n, b, err := listLength(b)
	if err != nil {
		return nil, fmt.Errorf("parts: %w", err)
	}
	list := make([]ContentRef, n)
	for i := range list {
		if len(b) < len(list[i].Sum) {
			return nil, fmt.Errorf("parts: %w: list is cut off", ErrCorrupt)
		}
		b = b[copy(list[i].Sum[:], b):]
		if list[i].Generation, b, err = cutNumber(b); err != nil {
			return nil, err
		}
		if list[i].Ref, b, err = cutString(b); err != nil {
			return nil, fmt.Errorf("parts: %w", err)
		}
		var size uint64
		if size, b, err = cutNumber(b); err != nil {
			return nil, err
		}
		list[i].Size = int64(size)
	}
	return list, listEnd(b, "parts")
}

func cutNumber(b []byte) (uint64, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 {
		return 0, nil, fmt.Errorf("parts: %w: list is cut off", ErrCorrupt)
	}
	return n, b[k:], nil
}

// CreateFile durably writes a file that is not there yet.
func (s *Store) CreateFile(ctx context.Context, f FileRow) error {
	applied, _, err := s.engine.CompareAndSet(ctx, TableFiles, filePartition(f.Tenant, &f.ID), nil, nil, f.columns())
	if err == nil && !applied {
		err = fmt.Errorf("%w: there is one with that id", chat.ErrInvalid)
	}
	return fail(err, "create", f.Key())
}

// GetFile returns a file, or chat.ErrNotFound.
func (s *Store) GetFile(ctx context.Context, tenant chat.TenantID, id chat.FileID) (FileRow, error) {
	r, err := s.engine.Get(ctx, TableFiles, filePartition(tenant, &id), nil)
	if err != nil {
		return FileRow{}, fail(err, "read", fileKey{tenant, id})
	}
	f, err := decodeFileRow(tenant, id, r.Columns)
	return f, fail(err, "read", fileKey{tenant, id})
}

// maxFileRounds bounds ChangeFile: a file is changed by few at once.
const maxFileRounds = 20

// ChangeFile durably changes a file as change does, which may be called more than once, each time with what is stored.
// If change answers an error nothing is written, and that is the error. It returns the file as it is then stored.
func (s *Store) ChangeFile(ctx context.Context, tenant chat.TenantID, id chat.FileID, change func(*FileRow) error) (FileRow, error) {
	p := filePartition(tenant, &id)
	row, err := s.engine.Get(ctx, TableFiles, p, nil)
	if err != nil {
		return FileRow{}, fail(err, "change", fileKey{tenant, id})
	}
	for range maxFileRounds {
		f, err := decodeFileRow(tenant, id, row.Columns)
		if err != nil {
			return f, fail(err, "change", fileKey{tenant, id})
		}
		f.Parts = slices.Clip(f.Parts)
		if err := change(&f); err != nil {
			return f, err
		}
		applied, found, err := s.engine.CompareAndSet(ctx, TableFiles, p, nil, row.Columns, f.columns())
		switch {
		case err != nil:
			return f, fail(err, "change", fileKey{tenant, id})
		case applied:
			return f, nil
		case found.Columns == nil:
			return f, fail(ErrNoRow, "change", fileKey{tenant, id})
		}
		row = found
	}
	return FileRow{}, fmt.Errorf("change %s: %w: too many do so at once", fileKey{tenant, id}, chat.ErrOverloaded)
}

// DeleteFile removes the row of a file that nobody has changed for a long time.
func (s *Store) DeleteFile(ctx context.Context, tenant chat.TenantID, id chat.FileID) error {
	return fail(s.engine.Apply(ctx, Batch{Table: TableFiles, Partition: filePartition(tenant, &id),
		Mutations: []Mutation{{Delete: true}}, Durability: Relaxed}), "delete", fileKey{tenant, id})
}

// Files calls yield for every file of all tenants, in any order, until it returns false.
func (s *Store) Files(ctx context.Context, yield func(FileRow) bool) error {
	var failed error
	err := s.engine.ScanTable(ctx, TableFiles, func(p Key, r Row) bool {
		var id chat.FileID
		if id, failed = p[1].uuid("file"); failed != nil {
			return false
		}
		var f FileRow
		if f, failed = decodeFileRow(chat.TenantID(p[0].string()), id, r.Columns); failed != nil {
			return false
		}
		return yield(f)
	})
	return fail(errors.Join(err, failed), "list", allFiles{})
}

type allFiles struct{}

func (allFiles) String() string { return "files" }

// Secret returns the value stored under a name, which is made of fresh if there is none: all nodes get the same.
func (s *Store) Secret(ctx context.Context, name string, fresh func() string) (string, error) {
	p := Key{text("secret_" + name)}
	r, err := s.engine.Get(ctx, TableMeta, p, nil)
	if errors.Is(err, ErrNoRow) {
		var applied bool
		value := fresh()
		applied, r, err = s.engine.CompareAndSet(ctx, TableMeta, p, nil, nil, []Value{{}, text(value)})
		if err == nil && applied {
			return value, nil
		}
	}
	if err != nil {
		return "", fail(err, "read the secret", secretName(name))
	}
	return r.Columns[1].string(), nil
}

type secretName string

func (n secretName) String() string { return string(n) }

package wire

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

var (
	// ErrUnknownType means a question, command, answer or parcel of a type that this node does not know: a newer node
	// sent it. Of an encoder: it has no number yet.
	ErrUnknownType = errors.New("wire: unknown type")
	// ErrMalformed means that the bytes are no message.
	ErrMalformed = errors.New("wire: malformed")
)

// keep is how large a message may be, in bytes, whose structs are kept for the next one.
const keep = 64 << 10

type message interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
	ReturnToVTPool()
}

func marshal(b []byte, m message) ([]byte, error) {
	n, size := len(b), m.SizeVT()
	b = slices.Grow(b, size)[:n+size]
	if _, err := m.MarshalToSizedBufferVT(b[n:]); err != nil {
		return b[:n], err
	}
	if size <= keep {
		m.ReturnToVTPool()
	}
	return later(b), nil
}

func unmarshal(b []byte, m message) error {
	if err := m.UnmarshalVT(b); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func release(b []byte, m message) {
	if len(b) <= keep {
		m.ReturnToVTPool()
	}
}

// AppendQuestion appends q, asked of the owner of a shard, with a place that means something to the router. It fails for a
// shard that there is not and with ErrUnknownType; b is unchanged then.
func AppendQuestion(b []byte, shard int, place uint64, q chat.Question) ([]byte, error) {
	if shard < 0 || shard >= chat.Shards {
		return b, fmt.Errorf("wire: there is no shard %d", shard)
	}
	m := pb.QuestionFromVTPool()
	m.Shard, m.Place = uint32(shard), place
	if err := putQuestion(m, q); err != nil {
		return b, err
	}
	return marshal(b, m)
}

// DecodeQuestion reads what AppendQuestion wrote. The shard is valid also with ErrUnknownType.
func DecodeQuestion(b []byte) (shard int, place uint64, q chat.Question, err error) {
	m := pb.QuestionFromVTPool()
	defer release(b, m)
	if err := unmarshal(b, m); err != nil {
		return 0, 0, nil, err
	}
	if shard, err = shardOf(m.Shard); err != nil {
		return 0, 0, nil, err
	}
	q, err = question(m)
	return shard, m.Place, q, err
}

// AppendAnswer appends an answer, or, if there is one, an error instead of it.
func AppendAnswer(b []byte, a chat.Answer, err error) ([]byte, error) {
	m := pb.AnswerFromVTPool()
	if err != nil {
		m.Error = pb.ErrorFromVTPool()
		putError(m.Error, err)
	} else if err := putAnswer(m, a); err != nil {
		return b, err
	}
	return marshal(b, m)
}

// DecodeAnswer reads what AppendAnswer wrote: the answer or the error. Its own errors are ErrMalformed and ErrUnknownType.
func DecodeAnswer(b []byte) (chat.Answer, error) {
	m := pb.AnswerFromVTPool()
	defer release(b, m)
	if err := unmarshal(b, m); err != nil {
		return nil, err
	}
	if m.Error != nil {
		return nil, errorOf(m.Error)
	}
	return answer(m)
}

// AppendParcel appends p. It fails with ErrUnknownType and for a shard that there is not; b is unchanged then.
func AppendParcel(b []byte, p chat.Parcel) ([]byte, error) {
	m := pb.ParcelFromVTPool()
	if err := putParcel(m, p); err != nil {
		return b, err
	}
	return marshal(b, m)
}

// DecodeParcel reads what AppendParcel wrote.
func DecodeParcel(b []byte) (chat.Parcel, error) {
	m := pb.ParcelFromVTPool()
	defer release(b, m)
	if err := unmarshal(b, m); err != nil {
		return nil, err
	}
	return parcel(m)
}

package user

import (
	"errors"

	"github.com/zumodra/hub/chat"
)

// MaxWaiting is how many operations may wait at one user's actor; more are answered chat.ErrOverloaded (I7).
const MaxWaiting = 1024

// Request is one operation on its way. The core never looks at Done.
type Request struct {
	// Caller and Command of an operation about Pair; both are zero of one about the user's own preferences.
	Caller  chat.Principal
	Command chat.PeopleCommand
	Pair    chat.PairKey
	// Guard, if set, is called instead of carrying out a command: the pair is left alone until release is called.
	Guard func(err error, release func())
	// Repair carries out what follows from the stored pair.
	Repair bool
	// Change, if set, changes the preferences; else they are only asked for.
	Change func(*chat.Preferences)
	Done   func(Result, error)

	load   bool // the preferences are to be read first; else result holds those to be written
	result Result
	err    error
}

// Result of a request.
type Result struct {
	Pair        chat.Pair        // as it is now, of an operation about a pair
	Preferences chat.Preferences // of one about preferences
}

// Effects is what a step wants done: operations to start, each to be handed back as Finished, and requests to answer.
type Effects struct {
	Start  []*Request
	Answer []*Request
}

// Finished hands an operation back that was started.
type Finished struct{ Request *Request }

// State is the pure core of a user's actor: it puts the operations in order. It is not safe for concurrent use.
type State struct {
	preferences chat.Preferences
	loaded      bool
	lines       map[chat.PairKey][]*Request // the first is under way; the zero key is of the preferences
	waiting     int
}

// Step takes a *Request, or a Finished.
func (s *State) Step(in any, fx *Effects) {
	switch in := in.(type) {
	case *Request:
		s.arrived(in, fx)
	case Finished:
		s.finished(in.Request, fx)
	}
}

func (s *State) arrived(r *Request, fx *Effects) {
	if s.waiting >= MaxWaiting {
		r.err = chat.ErrOverloaded
		fx.Answer = append(fx.Answer, r)
		return
	}
	if s.lines == nil {
		s.lines = make(map[chat.PairKey][]*Request)
	}
	line := append(s.lines[r.Pair], r)
	s.lines[r.Pair] = line
	s.waiting++
	if len(line) == 1 {
		s.begin(r, fx)
	}
}

// begin starts the first of a line, or answers it at once where nothing needs to be read or written.
func (s *State) begin(r *Request, fx *Effects) {
	if r.Pair == (chat.PairKey{}) && s.loaded {
		r.result.Preferences = s.preferences
		if r.Change == nil {
			s.finished(r, fx)
			return
		}
		r.Change(&r.result.Preferences)
		if r.result.Preferences == s.preferences {
			s.finished(r, fx)
			return
		}
	}
	r.load = !s.loaded
	fx.Start = append(fx.Start, r)
}

func (s *State) finished(r *Request, fx *Effects) {
	line := s.lines[r.Pair]
	if len(line) == 0 || line[0] != r {
		return
	}
	s.waiting--
	if line = line[1:]; len(line) == 0 {
		delete(s.lines, r.Pair)
	} else {
		s.lines[r.Pair] = line
	}
	switch {
	case r.Pair != (chat.PairKey{}):
	case r.err == nil:
		s.preferences, s.loaded = r.result.Preferences, true
	case errors.Is(r.err, chat.ErrUnknown): // they may have been changed
		s.preferences, s.loaded = chat.Preferences{}, false
	}
	fx.Answer = append(fx.Answer, r)
	if len(line) > 0 {
		s.begin(line[0], fx)
	}
}

// Abort ends everything: it returns the requests that were not started. Those that were are not to be handed back.
func (s *State) Abort() (waiting []*Request) {
	for _, line := range s.lines {
		waiting = append(waiting, line[1:]...)
	}
	*s = State{}
	return waiting
}

// Preferences are those in memory; false if they have not been asked for yet.
func (s *State) Preferences() (chat.Preferences, bool) { return s.preferences, s.loaded }

// Quiet reports that nothing waits and nothing is under way.
func (s *State) Quiet() bool { return s.waiting == 0 }

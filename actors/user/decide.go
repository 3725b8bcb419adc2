package user

import (
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// Decide judges what me wants about the other user of a pair and returns the pair as it is then. It leaves the
// version to the caller; a pair that is as it was needs not be written.
func Decide(p chat.Pair, me chat.UserID, cmd chat.PeopleCommand, now time.Time, rules *chat.Rules) (chat.Pair, error) {
	now = now.UTC().Truncate(time.Microsecond)
	mine, theirs := p.Of(me), p.Of(p.Key.Other(me))
	switch c := cmd.(type) {
	case chat.AddContact:
		switch {
		case p.Blocked():
			return p, chat.ErrCannotRequest
		case !mine.ContactSince.IsZero():
			return p, chat.ErrContactExists
		}
		asked := c.Ask && theirs.ContactSince.IsZero() && mayRequest(mine, false, now, rules)
		mine.ContactSince, mine.Favorite = now, c.Favorite
		if asked {
			mine.Request = request(now, false)
		}
	case chat.SetFavorite:
		if mine.ContactSince.IsZero() {
			return p, fmt.Errorf("contact: %w", chat.ErrNotFound)
		}
		mine.Favorite = c.On
	case chat.RemoveContact:
		if mine.ContactSince.IsZero() {
			return p, fmt.Errorf("contact: %w", chat.ErrNotFound)
		}
		mine.ContactSince, mine.Favorite = time.Time{}, false
	case chat.RequestFriend:
		switch {
		case p.Blocked():
			return p, chat.ErrCannotRequest
		case !mine.ContactSince.IsZero():
			return p, chat.ErrAlreadyContacts
		case !mayRequest(mine, c.Quiet, now, rules):
			return p, chat.ErrRequestSent
		}
		mine.Request = request(now, c.Quiet)
	case chat.AnswerRequest:
		return p, answer(mine, theirs, c, now)
	case chat.CancelRequest:
		switch r := &mine.Request; {
		case r.State == chat.RequestNone || r.ID != c.ID:
			return p, fmt.Errorf("friend request: %w", chat.ErrNotFound)
		case r.State != chat.RequestPending:
			return p, chat.ErrCancelCompleted
		}
		mine.Request = chat.FriendRequest{}
	case chat.Block:
		if !mine.BlockedAt.IsZero() {
			return p, chat.ErrAlreadyBlocked
		}
		mine.BlockedAt = now
		for _, r := range [...]*chat.FriendRequest{&mine.Request, &theirs.Request} {
			if r.State == chat.RequestPending {
				*r = chat.FriendRequest{}
			}
		}
	case chat.Unblock:
		if mine.BlockedAt.IsZero() {
			return p, fmt.Errorf("block: %w", chat.ErrNotFound)
		}
		mine.BlockedAt = time.Time{}
	default:
		return p, fmt.Errorf("%w: unknown command %s", chat.ErrInvalid, cmd.Name())
	}
	return p, nil
}

func request(now time.Time, quiet bool) chat.FriendRequest {
	return chat.FriendRequest{ID: chat.NewRequestID(), State: chat.RequestPending, CreatedAt: now, Quiet: quiet}
}

// mayRequest is the policy on asking again: not while a request waits, not too soon after a rejection. An accepted
// one, whose contact was removed since, hinders nobody (D-21). One that was made
// quietly does not hinder one that is not, which replaces it: else the answer would tell whose the address was.
func mayRequest(mine *chat.Side, quiet bool, now time.Time, rules *chat.Rules) bool {
	if mine.Request.Quiet && !quiet {
		return true
	}
	switch mine.Request.State {
	case chat.RequestPending:
		return false
	case chat.RequestRejected:
		return !now.Before(mine.Request.DecidedAt.Add(rules.RequestRetry))
	}
	return true
}

// answer carries out the receiver's word. Accepting makes both contacts, and settles a request the other way, too.
func answer(mine, theirs *chat.Side, c chat.AnswerRequest, now time.Time) error {
	r := &theirs.Request
	if r.State == chat.RequestNone || r.ID != c.ID {
		return fmt.Errorf("friend request: %w", chat.ErrNotFound)
	}
	if !c.Accept {
		switch r.State {
		case chat.RequestAccepted:
			return chat.ErrRejectAccepted
		case chat.RequestRejected:
			return chat.ErrAlreadyRejected
		}
		r.State, r.DecidedAt = chat.RequestRejected, now
		return nil
	}
	switch r.State {
	case chat.RequestAccepted:
		return chat.ErrAlreadyAccepted
	case chat.RequestRejected:
		return chat.ErrAcceptRejected
	}
	for _, s := range [...]*chat.Side{mine, theirs} {
		if s.ContactSince.IsZero() {
			s.ContactSince = now
		}
		if s.Request.State == chat.RequestPending {
			s.Request.State, s.Request.DecidedAt = chat.RequestAccepted, now
		}
	}
	return nil
}

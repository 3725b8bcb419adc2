package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Contact is an entry of the user's contacts.
type Contact struct {
	ID       int64     `json:"id"` // of the entry, not of the user
	User     User      `json:"contact"`
	Favorite bool      `json:"is_favorite"`
	Online   bool      `json:"is_online"`
	Since    time.Time `json:"created_at"`
}

// ContactPage is one page of the user's contacts, favourites first.
type ContactPage struct {
	Count    int
	Contacts []Contact
	More     bool
}

// Suggestion is a user whom this one may want as a contact.
type Suggestion struct {
	User         User    `json:"user"`
	SharedGroups int     `json:"shared_groups"`
	Score        float64 `json:"score"`
}

// Suggestions are users whom this one may want as contacts, the best first, ten at most.
func (c *Client) Suggestions(ctx context.Context) ([]Suggestion, error) {
	var list []Suggestion
	if err := c.rest(ctx, http.MethodGet, "contacts/suggestions/", nil, nil, &list); err != nil {
		return nil, fmt.Errorf("list suggested contacts: %w", err)
	}
	return list, nil
}

// AddContact makes a user a contact.
func (c *Client) AddContact(ctx context.Context, user UserID) (*Contact, error) {
	out := new(Contact)
	if err := c.rest(ctx, http.MethodPost, "contacts/", nil, map[string]UserID{"contact_id": user}, out); err != nil {
		return nil, fmt.Errorf("add a contact: %w", err)
	}
	return out, nil
}

// Contacts returns page n (from 1) of the user's contacts.
func (c *Client) Contacts(ctx context.Context, n int) (*ContactPage, error) {
	var page struct {
		Count   int       `json:"count"`
		Next    *string   `json:"next"`
		Results []Contact `json:"results"`
	}
	q := url.Values{"page": {strconv.Itoa(max(n, 1))}}
	if err := c.rest(ctx, http.MethodGet, "contacts/", q, nil, &page); err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	return &ContactPage{page.Count, page.Results, page.Next != nil}, nil
}

// Block keeps a user from the direct conversation with this one, and the reverse, from the moment it returns.
// Blocking a user again is an *HTTPError of status 400.
func (c *Client) Block(ctx context.Context, user UserID) error {
	if err := c.rest(ctx, http.MethodPost, "blocked/", nil, map[string]UserID{"user_id": user}, nil); err != nil {
		return fmt.Errorf("block a user: %w", err)
	}
	return nil
}

// Unblock takes a block back. It is no error if there is none.
func (c *Client) Unblock(ctx context.Context, user UserID) error {
	for n := 1; ; n++ {
		var page struct {
			Next    *string `json:"next"`
			Results []struct {
				ID      int64 `json:"id"`
				Blocked User  `json:"blocked"`
			} `json:"results"`
		}
		q := url.Values{"page": {strconv.Itoa(n)}}
		if err := c.rest(ctx, http.MethodGet, "blocked/", q, nil, &page); err != nil {
			return fmt.Errorf("list blocked users: %w", err)
		}
		for _, b := range page.Results {
			if b.Blocked.ID != user {
				continue
			}
			if err := c.rest(ctx, http.MethodDelete, fmt.Sprint("blocked/", b.ID, "/"), nil, nil, nil); err != nil {
				return fmt.Errorf("unblock a user: %w", err)
			}
			return nil
		}
		if page.Next == nil {
			return nil
		}
	}
}

// SetReadReceipts says whether others are told what this user reads; it holds for the very next read.
func (c *Client) SetReadReceipts(ctx context.Context, on bool) error {
	if err := c.rest(ctx, http.MethodPatch, "preferences/", nil, map[string]bool{"read_receipts": on}, nil); err != nil {
		return fmt.Errorf("change preferences: %w", err)
	}
	return nil
}

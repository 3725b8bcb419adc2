package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/tenancy"
)

// tenancyTable are the routes that need Config.Tenancy.
func tenancyTable() []route {
	const m = prefix + "/admin"
	type methods = map[string]handler
	post := func(s chat.Scope, h handler) methods { return methods{http.MethodPost: scoped(s, h)} }
	return []route{
		{m + "/tenants", operator, methods{"GET": scoped(chat.ScopeTenants, (*API).listTenants), "POST": scoped(chat.ScopeTenants, (*API).createTenant)}},
		{m + "/tenants/{id}", operator, methods{"GET": (*API).getTenant, "PATCH": scoped(chat.ScopeTenants, (*API).patchTenant),
			"DELETE": scoped(chat.ScopeTenants, (*API).deleteTenant)}},
		{m + "/tenants/{id}/suspend", operator, post(chat.ScopeTenants, (*API).suspendTenant)},
		{m + "/tenants/{id}/erase", operator, post(chat.ScopeTenants, (*API).eraseTenant)},
		{m + "/tenants/{id}/resume", operator, post(chat.ScopeTenants, (*API).resumeTenant)},
		{m + "/keys", operator, methods{"GET": scoped(chat.ScopeKeys, (*API).listKeys), "POST": scoped(chat.ScopeKeys, (*API).createKey)}},
		{m + "/keys/{id}", operator, methods{"GET": scoped(chat.ScopeKeys, (*API).getKey), "DELETE": scoped(chat.ScopeKeys, (*API).revokeKey)}},
		{m + "/keys/{id}/rotate", operator, post(chat.ScopeKeys, (*API).rotateKey)},
		{m + "/audit", operator, methods{"GET": scoped(chat.ScopeAudit, (*API).listAudit)}},
		{m + "/users/{id}/suspend", operator, post(chat.ScopeModerate, (*API).suspendUser)},
		{m + "/users/{id}/resume", operator, post(chat.ScopeModerate, (*API).resumeUser)},
		{m + "/users/{id}/revoke_tokens", operator, post(chat.ScopeModerate, (*API).revokeUserTokens)},
		{m + "/users/{id}/messages", operator, post(chat.ScopeSend, (*API).sendAs)},
		{m + "/tokens", operator, post(chat.ScopeMint, (*API).mintToken)},
		{m + "/tokens/revoke", operator, post(chat.ScopeModerate, (*API).revokeToken)},
		{m + "/export/users", bulk, methods{"GET": scoped(chat.ScopeUsersRead, (*API).exportUsers)}},
		{m + "/import/users", bulk, post(chat.ScopeUsersWrite, (*API).importUsers)},
	}
}

type tenantView struct {
	ID        chat.TenantID   `json:"id"`
	Name      string          `json:"name"`
	State     string          `json:"state"`
	Reason    *string         `json:"reason"`
	Settings  json.RawMessage `json:"settings"`
	Limits    chat.Limits     `json:"limits"`
	Version   uint64          `json:"version"`
	CreatedAt stamp           `json:"created_at"`
	UpdatedAt stamp           `json:"updated_at"`
	Erasing   *string         `json:"erasing,omitempty"` // the step under way
}

func viewTenant(t *chat.Tenant) tenantView {
	v := tenantView{ID: t.ID, Name: t.Name, State: t.State.String(), Reason: orNull(t.Reason), Settings: json.RawMessage(t.Settings), Limits: t.Limits,
		Version: t.Version, CreatedAt: stamp(t.CreatedAt), UpdatedAt: stamp(t.UpdatedAt)}
	if t.State == chat.TenantErasing {
		v.Erasing = &t.Erasure.Step
	}
	if t.Settings == "" {
		v.Settings = json.RawMessage("{}")
	}
	return v
}

// tenantAnswer carries the version as an entity tag (RFC 9110 §8.8.3).
func tenantAnswer(status int, t *chat.Tenant) response {
	return response{status: status, body: viewTenant(t), header: map[string]string{"ETag": `"` + strconv.FormatUint(t.Version, 10) + `"`}}
}

// ifMatch is the version that the caller insists on, 0: none. It is false for a tag that is none of ours.
func ifMatch(r *http.Request) (version uint64, valid bool) {
	tag := strings.TrimSpace(r.Header.Get("If-Match"))
	if tag == "" || tag == "*" {
		return 0, true
	}
	version, err := strconv.ParseUint(strings.Trim(tag, `"`), 10, 63)
	return version, err == nil && version > 0
}

func (a *API) tenantFailure(err error, name string) response {
	if errors.Is(err, chat.ErrConflict) {
		return fail(http.StatusPreconditionFailed, "The tenant was changed meanwhile.")
	}
	return a.failure(err, texts{name: name, write: true})
}

// limitsOf reads the limits of a tenant over those it has: an absent field stays, null or 0 takes a limit away.
func (b *body) limitsOf(l *chat.Limits) (given bool) {
	raw := b.get("limits")
	if raw == nil {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(raw, &fields) == nil {
		for k, v := range fields {
			if string(v) == "null" {
				fields[k] = json.RawMessage("0")
			}
		}
		if raw, err := json.Marshal(fields); err == nil {
			d = json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
		}
	}
	if err := d.Decode(l); err != nil {
		b.fault("limits", "Not an object of known limits with numbers.")
		return false
	}
	var field *chat.FieldError
	if err := l.Check(); errors.As(err, &field) {
		b.fault(field.Field, field.Text)
	}
	return true
}

// settingsOf reads the settings of a tenant.
func (b *body) settingsOf() *string {
	raw := b.get("settings")
	if raw == nil {
		return nil
	}
	var buf bytes.Buffer
	if raw[0] != '{' || json.Compact(&buf, raw) != nil {
		b.fault("settings", "Not a JSON object.")
		return nil
	}
	if buf.Len() > chat.MaxSettings {
		b.fault("settings", "Ensure this field has no more than "+strconv.Itoa(chat.MaxSettings)+" bytes.")
	}
	s := buf.String()
	return &s
}

// POST admin/tenants/
func (a *API) createTenant(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	t := chat.Tenant{Name: b.short("name", 255)}
	id := b.required("id")
	if len(b.errs["id"]) == 0 {
		var err error
		if t.ID, err = chat.ParseTenantID(id); err != nil || id == "" {
			b.fault("id", badTenant)
		}
	}
	b.limitsOf(&t.Limits)
	if s := b.settingsOf(); s != nil {
		t.Settings = *s
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	t, err := a.cfg.Tenancy.CreateTenant(ctx, c.admin.actor, t)
	if errors.Is(err, chat.ErrConflict) {
		return fail(http.StatusConflict, "There is, or was, a tenant with that id.")
	}
	if err != nil {
		return a.failure(err, texts{name: "create_tenant", write: true})
	}
	return tenantAnswer(http.StatusCreated, &t)
}

// GET admin/tenants/?after=&limit=
func (a *API) listTenants(ctx context.Context, c *call) response {
	limit, res := pageLimit(c.r, 100, 500)
	if res != nil {
		return *res
	}
	q := c.r.URL.Query()
	after := chat.TenantID("")
	if s := q.Get("after"); s != "" {
		var err error
		if after, err = chat.ParseTenantID(s); err != nil {
			return invalid("after", badTenant)
		}
	}
	list, err := a.cfg.Tenancy.Tenants(ctx, after, limit+1)
	if err != nil {
		return a.failure(err, texts{name: "list_tenants"})
	}
	more := len(list) > limit
	list = list[:min(limit, len(list))]
	views := make([]tenantView, len(list))
	for i := range list {
		views[i] = viewTenant(&list[i])
	}
	var next *string
	if more {
		next = orNull(a.link(c.r, "after", string(list[len(list)-1].ID)))
	}
	return ok(cursorPage{next, views})
}

// cursorPage is a page of a list without numbers; Next is the address of the next one.
type cursorPage struct {
	Next    *string `json:"next"`
	Results any     `json:"results"`
}

func pageLimit(r *http.Request, usual, most int) (int, *response) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		res := invalid("limit", "Ensure this value is between 1 and "+strconv.Itoa(most)+".")
		return 0, &res
	}
	return n, nil
}

// pathTenant is the tenant in the path, which the caller may look at.
func pathTenant(c *call) (chat.TenantID, *response) {
	t, err := chat.ParseTenantID(c.r.PathValue("id"))
	if err != nil || c.r.PathValue("id") == "" {
		return "", &notFound
	}
	if res := c.admin.use(t); res != nil {
		return t, res
	}
	return t, nil
}

// GET admin/tenants/{id}/ answers a key of the tenant's own, whatever its scopes.
func (a *API) getTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	t, err := a.cfg.Tenancy.Tenant(ctx, id)
	if err != nil {
		return a.failure(err, texts{name: "get_tenant"})
	}
	return tenantAnswer(http.StatusOK, &t)
}

// PATCH admin/tenants/{id}/ with If-Match.
func (a *API) patchTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	version, valid := ifMatch(c.r)
	if !valid {
		return fail(http.StatusPreconditionFailed, "The tenant was changed meanwhile.")
	}
	var change tenancy.TenantChange
	if _, given := b.text("name"); given {
		name := b.short("name", 255)
		change.Name = &name
	}
	change.Settings = b.settingsOf()
	for {
		t, err := a.cfg.Tenancy.Tenant(ctx, id)
		if err != nil {
			return a.failure(err, texts{name: "get_tenant"})
		}
		limits := t.Limits
		if b.limitsOf(&limits) {
			change.Limits = &limits
		}
		if res, bad := b.invalid(); bad {
			return res
		}
		insist := version
		if insist == 0 && change.Limits != nil {
			insist = t.Version // what was merged is merged with what is there
		}
		t, err = a.cfg.Tenancy.UpdateTenant(ctx, c.admin.actor, id, insist, change)
		if errors.Is(err, chat.ErrConflict) && version == 0 && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return a.tenantFailure(err, "update_tenant")
		}
		return tenantAnswer(http.StatusOK, &t)
	}
}

// DELETE admin/tenants/{id}/ with If-Match.
func (a *API) deleteTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	version, valid := ifMatch(c.r)
	if !valid {
		return fail(http.StatusPreconditionFailed, "The tenant was changed meanwhile.")
	}
	if _, err := a.cfg.Tenancy.DeleteTenant(ctx, c.admin.actor, id, version); err != nil {
		return a.tenantFailure(err, "delete_tenant")
	}
	return response{status: http.StatusNoContent}
}

// POST admin/tenants/{id}/erase/ with If-Match and the id once more: there is no way back.
func (a *API) eraseTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	if confirm := b.required("confirm"); len(b.errs["confirm"]) == 0 && confirm != string(id) {
		b.fault("confirm", "Must be the id of the tenant.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	version, valid := ifMatch(c.r)
	if !valid {
		return fail(http.StatusPreconditionFailed, "The tenant was changed meanwhile.")
	}
	t, err := a.cfg.Tenancy.EraseTenant(ctx, c.admin.actor, id, version)
	if err != nil {
		return a.tenantFailure(err, "erase_tenant")
	}
	return tenantAnswer(http.StatusAccepted, &t)
}

// reason reads why something is suspended.
func (a *API) reason(c *call) (string, *response) {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return "", bad
	}
	s := b.short("reason", chat.MaxReason)
	if res, bad := b.invalid(); bad {
		return "", &res
	}
	return s, nil
}

// POST admin/tenants/{id}/suspend/
func (a *API) suspendTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	why, bad := a.reason(c)
	if bad != nil {
		return *bad
	}
	t, err := a.cfg.Tenancy.SuspendTenant(ctx, c.admin.actor, id, why)
	if err != nil {
		return a.failure(err, texts{name: "suspend_tenant", write: true})
	}
	return tenantAnswer(http.StatusOK, &t)
}

// POST admin/tenants/{id}/resume/
func (a *API) resumeTenant(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	t, err := a.cfg.Tenancy.ResumeTenant(ctx, c.admin.actor, id)
	if err != nil {
		return a.failure(err, texts{name: "resume_tenant", write: true})
	}
	return tenantAnswer(http.StatusOK, &t)
}

type auditView struct {
	ID      string      `json:"id"`
	At      stamp       `json:"at"`
	Actor   auditActor  `json:"actor"`
	Action  chat.Action `json:"action"`
	Objects []string    `json:"objects"`
	Address *string     `json:"address"`
	Outcome string      `json:"outcome"`
}

type auditActor struct {
	Kind chat.ActorKind `json:"kind"`
	ID   *string        `json:"id"`
}

// GET admin/audit/?action=&actor=&object=&from=&to=&before=&limit=
func (a *API) listAudit(ctx context.Context, c *call) response {
	v := c.r.URL.Query()
	b := &body{}
	word := func(name string) string {
		s := v.Get(name)
		if !utf8.ValidString(s) || len(s) > 256 {
			b.fault(name, "Not a valid string.")
		}
		return s
	}
	moment := func(name string) (t time.Time) {
		if s := v.Get(name); s != "" {
			var valid bool
			if t, valid = parseTime(s); !valid {
				b.fault(name, "Datetime has wrong format.")
			}
		}
		return t
	}
	q := chat.AuditQuery{Tenant: c.admin.tenant, Action: chat.Action(word("action")), Actor: word("actor"), Object: word("object"),
		From: moment("from"), To: moment("to")}
	if s := v.Get("before"); s != "" {
		var err error
		if q.Before, err = chat.ParseAuditID(s); err != nil {
			b.fault("before", "Must be a valid UUID.")
		}
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	limit, res := pageLimit(c.r, 100, 1000)
	if res != nil {
		return *res
	}
	q.Limit = limit
	page, err := a.cfg.Tenancy.Audit(ctx, q)
	if err != nil {
		return a.failure(err, texts{name: "list_audit"})
	}
	views := make([]auditView, len(page.Entries))
	for i := range page.Entries {
		e := &page.Entries[i]
		views[i] = auditView{ID: e.ID.String(), At: stamp(e.At), Actor: auditActor{e.Actor.Kind, orNull(e.Actor.ID)}, Action: e.Action,
			Objects: append([]string{}, e.Objects...), Address: orNull(e.Address), Outcome: e.Outcome}
	}
	var next *string
	if page.More {
		next = orNull(a.link(c.r, "before", page.Last.String()))
	}
	return ok(cursorPage{next, views})
}

package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/zumodra/hub/chat"
)

// usageTable are the routes that need Config.Tenancy and Config.Files.
func usageTable() []route {
	const m = prefix + "/admin"
	return []route{
		{m + "/tenants/{id}/usage", operator, map[string]handler{"GET": (*API).tenantUsage}},
		{m + "/users/{id}/usage", operator, map[string]handler{"GET": scoped(chat.ScopeUsersRead, (*API).userUsage)}},
	}
}

// usageView is what was uploaded in one day of UTC.
type usageView struct {
	Day     string `json:"day"`
	Bytes   int64  `json:"upload_bytes"`
	Files   int64  `json:"uploads"`
	Limit   *int64 `json:"upload_bytes_limit"`
	Renewed stamp  `json:"renewed_at"` // when the next day begins
}

func (a *API) usage(ctx context.Context, k chat.UserKey, limit int64) response {
	u, err := a.cfg.Files.Usage(ctx, k)
	if err != nil {
		return a.failure(err, texts{name: "usage"})
	}
	day := time.Unix(u.Day*24*60*60, 0).UTC()
	v := usageView{Day: day.Format(time.DateOnly), Bytes: u.Bytes, Files: u.Files, Renewed: stamp(day.AddDate(0, 0, 1))}
	if limit > 0 {
		v.Limit = &limit
	}
	return response{status: http.StatusOK, body: v, header: map[string]string{"Cache-Control": "no-store"}}
}

// GET admin/tenants/{id}/usage/ answers a key of the tenant's own, whatever its scopes, whether the tenant was created or
// is one that only tokens name.
func (a *API) tenantUsage(ctx context.Context, c *call) response {
	id, bad := pathTenant(c)
	if bad != nil {
		return *bad
	}
	return a.usage(ctx, chat.UserKey{Tenant: id}, a.cfg.Tenancy.Limits(id).UploadBytes)
}

// GET admin/users/{id}/usage/
func (a *API) userUsage(ctx context.Context, c *call) response {
	k, bad := pathKey(c)
	if bad != nil {
		return *bad
	}
	return a.usage(ctx, k, a.cfg.Tenancy.Limits(k.Tenant).UploadBytesPerUser)
}

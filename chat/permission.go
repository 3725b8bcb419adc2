package chat

import "fmt"

// Act is something that not every member of every conversation may do. The table below is the one place that says
// who may: the conversation decides by it, and what is shown to clients is taken from it.
type Act uint8

const (
	ActAddMembers Act = iota + 1
	ActRemoveMembers
	ActLeave
	ActRename
	ActSetRole        // handing ownership over included
	ActSetPermissions // change Permissions
	ActDeleteOthers   // empty messages of others for all
	ActPin            // pin and unpin messages
	ActMentionAll
	numActions = iota
)

// inDirect says what becomes of an action in a direct conversation, whose members have no roles.
type inDirect uint8

const (
	directNever  inDirect = iota // there is no such thing there: ErrDirect
	directNobody                 // ErrForbidden
	directBoth
)

var actions = [numActions + 1]struct {
	name   string
	role   Role                     // the lowest that may, unless the group says otherwise
	may    func(*Permissions) *Role // where the group says it; nil: it cannot
	direct inDirect
}{
	ActAddMembers:     {name: "add_members", role: RoleMember, may: func(p *Permissions) *Role { return &p.Add }},
	ActRemoveMembers:  {name: "remove_members", role: RoleAdmin},
	ActLeave:          {name: "leave", role: RoleMember},
	ActRename:         {name: "rename", role: RoleAdmin},
	ActSetRole:        {name: "set_role", role: RoleOwner},
	ActSetPermissions: {name: "set_permissions", role: RoleAdmin},
	ActDeleteOthers:   {name: "delete", role: RoleAdmin, direct: directNobody},
	ActPin:            {name: "pin", role: RoleAdmin, may: func(p *Permissions) *Role { return &p.Pin }, direct: directBoth},
	ActMentionAll:     {name: "mention_all", role: RoleAdmin, may: func(p *Permissions) *Role { return &p.MentionAll }},
}

// Acts returns every action.
func Acts() []Act {
	all := make([]Act, numActions)
	for i := range all {
		all[i] = Act(i + 1)
	}
	return all
}

// String is the action's name in errors.
func (a Act) String() string {
	if a == 0 || int(a) >= len(actions) {
		return "unknown"
	}
	return actions[a].name
}

// Permissions are what a group says about who may do what: the lowest role. Zero fields mean the default, which is
// RoleMember for Add and RoleAdmin for the others.
type Permissions struct {
	Add        Role // members
	Pin        Role // messages
	MentionAll Role
}

// WithDefaults fills the zero values.
func (p Permissions) WithDefaults() Permissions {
	for _, a := range actions {
		if a.may == nil {
			continue
		}
		if r := a.may(&p); *r == 0 {
			*r = a.role
		}
	}
	return p
}

// Over is p where it is not zero, else old.
func (p Permissions) Over(old Permissions) Permissions {
	for _, a := range actions {
		if a.may == nil {
			continue
		}
		if r := a.may(&p); *r == 0 {
			*r = *a.may(&old)
		}
	}
	return p
}

// Valid reports whether each field is a role, or zero.
func (p Permissions) Valid() bool { return max(p.Add, p.Pin, p.MentionAll) <= RoleOwner }

// Allowed reports whether a member may do a: nil, or an error that wraps ErrForbidden or, where the kind of
// conversation does not know the action, ErrDirect.
func (a Act) Allowed(kind Kind, role Role, p Permissions) error {
	if a == 0 || int(a) >= len(actions) {
		return fmt.Errorf("%w: action %d", ErrInvalid, a)
	}
	rule := &actions[a]
	if kind == Direct {
		switch rule.direct {
		case directBoth:
			return nil
		case directNobody:
			return fmt.Errorf("%s: %w", rule.name, ErrForbidden)
		}
		return fmt.Errorf("%s: %w", rule.name, ErrDirect)
	}
	lowest := rule.role
	if rule.may != nil {
		if set := *rule.may(&p); set != 0 {
			lowest = set
		}
	}
	if role < lowest {
		return fmt.Errorf("%s: %w", rule.name, ErrForbidden)
	}
	return nil
}

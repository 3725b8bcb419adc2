package testcluster_test

import (
	"testing"

	"github.com/zumodra/hub/internal/testcluster"
)

func TestViewsOfSeveralShapes(t *testing.T) {
	for name, page := range map[string]string{
		"counts beside the member": `{"sessions":7,"members":[{"name":"n1","id":12,"state":"alive","shards":1000},{"name":"n2","id":13,"state":"suspect","shards":24}]}`,
		"counts by name":           `{"sessions":7,"members":[{"name":"n1","state":"alive"},{"name":"n2","state":"dead"}],"shards":{"n1":1000,"n2":24}}`,
		"counts by id":             `{"sessions":[1,2,3,4,5,6,7],"members":[{"name":"n1","id":"a","state":"Alive"},{"name":"n2","id":"b","state":"left"}],"shards":{"a":1000,"b":24}}`,
		"other spellings":          `{"Sessions":7,"Members":[{"node_name":"n1","status":"serving","shard_count":1000},{"node_name":"n2","status":"leaving","shard_count":24,"new":[{}]}],"new":1}`,
	} {
		v, err := testcluster.ParseView([]byte(page))
		if err != nil || len(v.Members) != 2 || v.Sessions != 7 {
			t.Errorf("%s: %+v, %v", name, v, err)
			continue
		}
		a, b := v.Members[0], v.Members[1]
		if a.Name != "n1" || !a.Alive() || a.Shards != 1000 || b.Name != "n2" || b.Alive() || b.Shards != 24 {
			t.Errorf("%s: %+v", name, v.Members)
		}
	}
	if v, err := testcluster.ParseView([]byte(`{"members":[{"name":"n1"},"odd"]}`)); err != nil || len(v.Members) != 1 || v.Members[0].Shards != -1 || v.Sessions != -1 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := testcluster.ParseView([]byte("404 page not found")); err == nil {
		t.Error("no JSON is no view")
	}
}

package meili

import (
	"fmt"
	"testing"

	"github.com/zumodra/hub/chat"
)

// BenchmarkScopes builds the filters for users in many conversations.
func BenchmarkScopes(b *testing.B) {
	for _, n := range []int{10, 200, 2000, 20_000} {
		q := chat.IndexQuery{Tenant: "tenant", Conversations: make([]chat.ConversationID, n)}
		for i := range q.Conversations {
			q.Conversations[i] = chat.NewConversationID()
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = 0
				for _, f := range scopes(&q) {
					size += len(f)
				}
			}
			b.ReportMetric(float64(size), "filter-bytes")
		})
	}
}

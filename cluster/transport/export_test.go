package transport

import "github.com/zumodra/hub/chat"

// What tests of the outside need to play a peer by hand.

const (
	FrameAnswer  = frameAnswer
	FrameDeliver = frameDeliver
	FrameRequest = frameRequest
	FrameConfirm = frameConfirm
)

// NewVersions is New of a build that speaks other versions.
func NewVersions(cfg Config, minVersion, maxVersion uint16) (*Transport, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return newTransport(cfg, minVersion, maxVersion)
}

// HelloFrame is the hello of a node that wants to reach wanted.
func HelloFrame(self, wanted chat.NodeID, cluster string) []byte {
	h := hello{min: versionMin, max: versionMax, node: self, wanted: wanted, cluster: cluster, name: "by hand"}
	return appendFrame(nil, header{kind: frameHello}, h.append(nil))
}

// Frame is any frame.
func Frame(kind uint8, id uint64, payload []byte) []byte {
	return appendFrame(nil, header{kind: kind, id: id}, payload)
}

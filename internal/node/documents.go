package node

import (
	"github.com/zumodra/hub/edge/frame/asyncapi"
	"github.com/zumodra/hub/edge/rest"
)

// socketDocuments describe the WebSocket protocol on the REST port.
func socketDocuments() (d rest.SocketDocuments, err error) {
	if d.AsyncAPI, err = asyncapi.Document(); err == nil {
		d.Page, err = asyncapi.Page()
	}
	return d, err
}

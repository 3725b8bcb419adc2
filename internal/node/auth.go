package node

import (
	"path/filepath"

	"github.com/zumodra/hub/edge/auth"
)

// openAuth makes what checks tokens, and what signs them if there is a secret.
func (n *Node) openAuth() (signer *auth.Signer, err error) {
	c := auth.Config{JWKSURL: n.cfg.AuthJwksURL, Issuer: n.cfg.AuthIssuer, Audience: n.cfg.AuthAudience, Now: n.opts.Now, Logger: n.log}
	if n.cfg.AuthSecretFile != "" && !n.cfg.Dev {
		secret, err := auth.LoadSecret(n.cfg.AuthSecretFile)
		if err != nil {
			return nil, err
		}
		c.Secrets = [][]byte{secret}
		if signer, err = auth.NewSigner(secret); err != nil {
			return nil, err
		}
	}
	if n.cfg.AuthPublicKeyFile != "" {
		c.PublicKeyFiles = []string{n.cfg.AuthPublicKeyFile}
	}
	if n.cfg.Dev {
		file := n.cfg.AuthSecretFile // of all nodes of a cluster
		if file == "" {
			file = filepath.Join(n.cfg.Data, SecretFile)
		}
		secret, err := auth.EnsureSecret(file)
		if err != nil {
			return nil, err
		}
		c.Secrets = [][]byte{secret}
		if signer, err = auth.NewSigner(secret); err != nil {
			return nil, err
		}
	}
	n.verifier, err = auth.New(c)
	return signer, err
}

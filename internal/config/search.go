package config

import (
	"net/url"
	"regexp"
)

var indexPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c *Config) checkSearch(bad func(flag, format string, args ...any)) {
	switch c.Search {
	case "", "fts", "off": // not set: off
		for flag, given := range map[string]bool{"meili-url": c.MeiliURL != "", "meili-key-file": c.MeiliKeyFile != "",
			"meili-index-prefix": c.MeiliIndexPrefix != "" && c.MeiliIndexPrefix != "hub"} {
			if given {
				bad(flag, "only with --search meili: add that, or leave this out")
			}
		}
	case "meili":
		switch u, err := url.Parse(c.MeiliURL); {
		case c.MeiliURL == "":
			bad("meili-url", "needed with --search meili")
		case err == nil && u.User != nil:
			bad("meili-url", "give the key by --meili-key-file, not in the URL")
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "":
			bad("meili-url", "%q is not a URL such as http://127.0.0.1:7700", c.MeiliURL)
		}
		if !indexPrefix.MatchString(c.MeiliIndexPrefix) {
			bad("meili-index-prefix", "%q is not 1 to 64 letters, digits, hyphens and underscores", c.MeiliIndexPrefix)
		}
	default:
		bad("search", "%q is not fts, meili or off", c.Search)
	}
}

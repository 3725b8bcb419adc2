// Package config holds every setting of `hub serve` as one struct: its flag, environment variable, YAML key,
// default and meaning are the tags of one field, so that the command line, the documentation and the check are
// never of different minds.
//
// Precedence: flag, then HUB_… environment variable, then the YAML file of --config, then the default. The
// package is plain data: it opens nothing and must not know what the settings do.
package config

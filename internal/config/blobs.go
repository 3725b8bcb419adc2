package config

import (
	"net/url"
	"regexp"
	"strings"
	"time"
)

// bucketName is what S3 allows: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Config) checkBlobs(bad func(flag, format string, args ...any)) {
	if c.BlobGrace != 0 && c.BlobGrace < time.Hour {
		bad("blob-grace", "%v is below 1h: uploads that take longer would be lost", c.BlobGrace)
	}
	if c.Blobs != "s3" {
		for flag, given := range map[string]bool{
			"s3-endpoint": c.S3Endpoint != "", "s3-bucket": c.S3Bucket != "", "s3-prefix": c.S3Prefix != "",
			"s3-path-style": c.S3PathStyle, "s3-access-key-file": c.S3AccessKeyFile != "", "s3-secret-key-file": c.S3SecretKeyFile != "",
		} {
			if given {
				bad(flag, "only with --blobs s3: add that, or leave this out")
			}
		}
		return
	}
	if c.BlobsShared != "" {
		bad("blobs-shared", "only with --blobs fs: leave one of them out")
	}
	switch u, err := url.Parse(c.S3Endpoint); {
	case c.S3Endpoint == "":
		bad("s3-endpoint", "needed with --blobs s3")
	case err == nil && u.User != nil:
		bad("s3-endpoint", "give keys by --s3-access-key-file and --s3-secret-key-file, not in the URL")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		bad("s3-endpoint", "%q is not a URL such as https://s3.example.com; the bucket goes into --s3-bucket", c.S3Endpoint)
	}
	switch {
	case c.S3Bucket == "":
		bad("s3-bucket", "needed with --blobs s3")
	case !bucketName.MatchString(c.S3Bucket):
		bad("s3-bucket", "%q is not 3 to 63 lower-case letters, digits, dots and hyphens", c.S3Bucket)
	}
	if strings.HasPrefix(c.S3Prefix, "/") || strings.Contains(c.S3Prefix, "//") {
		bad("s3-prefix", "%q begins with a slash or has two in a row", c.S3Prefix)
	}
	if c.S3Region == "" {
		bad("s3-region", "needed with --blobs s3; us-east-1 for servers without regions")
	}
	if c.S3AccessKeyFile == "" && c.S3SecretKeyFile != "" {
		bad("s3-access-key-file", "needed with --s3-secret-key-file")
	}
	if c.S3AccessKeyFile != "" && c.S3SecretKeyFile == "" {
		bad("s3-secret-key-file", "needed with --s3-access-key-file")
	}
}

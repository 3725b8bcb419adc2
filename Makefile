# Everything a contributor or CI runs. `make help` lists the targets.

GO        ?= go
TOOL      := $(GO) tool -modfile=internal/tools/go.mod
PKG       ?= ./...
DATA      ?= hub-data
FUZZTIME  ?= 10s
CRASH_CYCLES ?= 10
STORAGE   ?= pebble
CQL_NODES ?= 1
NODES     ?= 3
CLUSTER_CYCLES ?= 3
CLUSTER_DATA   ?= hub-cluster
# Runs a command under a local Apache Cassandra, or against the cluster in HUB_CQL_HOSTS.
CASSANDRA := $(GO) run ./internal/cassandra/run
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -X main.version=$(VERSION)

.PHONY: help build run cluster test test-race test-integration test-s3 test-cql test-binary test-cluster test-crash lint vuln fuzz bench bench-go smoke cover docs generate requirements clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

build: ## build bin/hub and bin/hubbench, the load harness
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/hub ./cmd/hubbench

run: ## start a development server on 127.0.0.1:8080, data in ./hub-data
	$(GO) run ./cmd/hub serve --dev --data $(DATA)

cluster: ## NODES hubs and a Cassandra on this machine, data in ./hub-cluster, until Ctrl-C; KEEP=1: hubbench may load, kill and start them
	$(GO) run ./internal/testcluster/run -nodes $(NODES) -dir $(CLUSTER_DATA) $(if $(KEEP),-keep -load)

test: ## all tests that need Go alone, with the race detector; STORAGE=scylla: those that touch storage, on a local Cassandra
ifeq ($(STORAGE),scylla)
	$(CASSANDRA) -- env HUB_TEST_STORAGE=scylla HUB_CRASH_CYCLES=$(CRASH_CYCLES) \
		$(GO) test -race -count=1 -timeout 30m -skip TestClusterStops ./storage/scylla/... ./internal/node ./cmd/hub ./internal/conformancetest ./internal/crashtest
else
	$(GO) test -race -timeout 30m $(PKG)
endif

test-race: test ## the same: tests always run with the race detector

test-integration: ## WebSocket conformance and its peers; the portable transport; S3; storage and hub on a real Cassandra, its faults (CQL_NODES=3: replicas lost)
ifeq ($(CQL_NODES),1)
	$(GO) test -count=1 ./edge/reactor/conformance/...
	$(GO) test -count=1 -tags reactor_portable ./edge/reactor
	$(MAKE) test-s3 GO="$(GO)"
	$(CASSANDRA) -- $(MAKE) test-cql GO="$(GO)"
else
	$(CASSANDRA) -nodes $(CQL_NODES) -- sh -c '$(GO) test -count=1 -timeout 15m ./storage/scylla && \
		$(GO) test -count=1 -v -timeout 30m -run TestReplicaLost ./internal/crashtest'
endif

test-s3: ## blobs in a real S3 server: versitygw, built once into the user's cache (minutes), or HUB_S3_ENDPOINT's
	HUB_S3=required $(GO) test -count=1 -timeout 20m ./storage/blob/s3/...
	HUB_S3=required $(GO) test -count=1 -run 'TestBlobs' ./internal/node

# Under a cluster, HUB_CQL_HOSTS. The faults come last and alone: they stop its server.
test-cql:
	HUB_TEST_STORAGE=scylla HUB_CRASH_CYCLES=3 $(GO) test -count=1 -timeout 15m ./storage/scylla/... ./internal/node ./cmd/hub ./internal/conformancetest
	$(GO) test -count=1 -run TestMeasurementsRun/cql ./bench
	HUB_TEST_STORAGE=scylla HUB_CRASH_CYCLES=3 $(GO) test -count=1 -v -timeout 15m ./internal/crashtest

test-binary: ## black-box tests of the real binary: command line, drain, restart
	$(GO) test -count=1 ./cmd/hub/...

test-cluster: ## three real hubs on a real Cassandra under load and faults, with a history checker; CLUSTER_CYCLES=20: the long form
	$(CASSANDRA) -nodes $(CQL_NODES) -- env HUB_CLUSTER_CYCLES=$(CLUSTER_CYCLES) \
		$(GO) test -count=1 -v -timeout $(if $(filter 1 2 3 4 5,$(CLUSTER_CYCLES)),15m,60m) ./internal/testcluster ./internal/clustertest ./bench/system

test-crash: ## kill -9 the real binary under load CRASH_CYCLES times and check the history
	HUB_CRASH_CYCLES=$(CRASH_CYCLES) $(GO) test -count=1 -timeout 60m -v -run TestCrash ./internal/crashtest/...

lint: ## gofmt, vet, staticcheck, golangci-lint (the first run builds them)
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./cmd/... ./edge/... ./client/...
	$(TOOL) staticcheck ./...
	$(TOOL) golangci-lint run ./...

vuln: ## known vulnerabilities (needs the network; not part of CI)
	$(TOOL) govulncheck ./...

fuzz: ## every fuzz target, or those whose name matches FUZZ, for FUZZTIME (default 10s)
	FUZZ=$(FUZZ) FUZZTIME=$(FUZZTIME) GO="$(GO)" .ci/fuzz

bench: ## the project's targets against this machine: memory, fan-out, durable sends, a mix of load, a storm (10 minutes)
	$(GO) run ./bench targets

bench-go: ## the Go benchmarks once over
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

smoke: ## a little of every load on one node, every promise checked; a hub with a defect on purpose, which must be found out; allocations
	$(GO) run ./bench allocs -runs 1 -gate
	$(GO) build -o bin/hubbench ./cmd/hubbench
	bin/hubbench run smoke --quiet --allow-invalid --out bin/smoke
	bin/hubbench run smoke --quiet --allow-invalid --tags ackfirst --set 'load[0].arrival=200/s' --out bin/smoke-red; test $$? -eq 1

cover: ## coverage of the tests, per package and in coverage.html
	$(GO) test -coverprofile=coverage.out -coverpkg=./... $(PKG)
	$(GO) tool cover -func=coverage.out | tail -1
	$(GO) tool cover -html=coverage.out -o coverage.html

docs: ## regenerate docs/configuration.md from the flags
	$(GO) run ./cmd/hub config doc > docs/configuration.md

generate: ## regenerate the node-to-node codec from cluster/wire/wire.proto (the generated files are committed)
	$(GO) -C internal/tools run ./protogen -dir ../.. cluster/wire/wire.proto

requirements: ## run the tests that carry numbers of docs/requirements.md and print the list with their results
	$(GO) run ./internal/requirements -run

clean: ## remove what the targets above made in the tree
	rm -rf bin coverage.out coverage.html

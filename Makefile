# make help lists the targets.

GO       ?= go
PACKAGES ?= ./...
# Flags for go test, as in: make test PACKAGES=./providers/dynamokv TESTFLAGS='-v -run TestConformance'
TESTFLAGS ?=

# Modules of their own, so that a user's go.mod has none of what they need.
NESTED := $(patsubst %/go.mod,%,$(wildcard adapters/go.mod examples/*/go.mod internal/*/go.mod kv/*/go.mod))

# What skykv and its tests must compile for, besides the platform that make runs on.
PLATFORMS ?= linux/386 darwin/arm64 windows/amd64 freebsd/amd64

# TOOL NAME runs a tool of internal/tools.
TOOL = $(GO) tool -modfile=$(CURDIR)/internal/tools/go.mod

# TESTS runs go test, and says at the end how many tests there were, how long they took,
# which failed, and which were skipped and why.
TESTS = $(TOOL) gotestsum --format $(or $(GOTESTSUM_FORMAT),pkgname-and-test-fails) --format-hide-empty-pkg --

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'The providers are tested against emulators: in Docker, else as local processes, else not'
	@echo 'at all. SKYKV_EMULATOR=docker, process or off decides instead; see conformance/emulator.'

.PHONY: build
build: ## Build all packages
	$(GO) build ./...

.PHONY: test
test: ## Run all tests, those of the nested modules too, or the tests of PACKAGES
	$(TESTS) -timeout 15m $(TESTFLAGS) $(PACKAGES)
	@$(if $(filter ./...,$(PACKAGES)),$(MAKE) --no-print-directory nested)

.PHONY: nested
nested: ## Vet and test the nested modules
	@set -e; for folder in $(NESTED); do echo "vet and test $$folder"; (cd $$folder && $(GO) vet ./... && $(TESTS) $(TESTFLAGS) ./...); done

.PHONY: race
race: ## Run all tests under the race detector
	$(TESTS) -race -timeout 20m $(TESTFLAGS) $(PACKAGES)
	@set -e; for folder in $(NESTED); do echo "race $$folder"; (cd $$folder && $(TESTS) -race $(TESTFLAGS) ./...); done

.PHONY: lint
lint: ## Check formatting, go vet, staticcheck, go mod tidy, the workflows and PLATFORMS
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) actionlint -shellcheck= -pyflakes=
	$(GO) mod tidy -diff
	@set -e; for folder in $(NESTED); do echo "tidy, vet and staticcheck $$folder"; \
		(cd $$folder && $(GO) mod tidy -diff && $(GO) vet ./... && $(TOOL) staticcheck ./...); done
	cd internal/tools && $(GO) run ./platforms ../.. $(PLATFORMS)

.PHONY: cover
cover: ## Run all tests and print what they cover, by package and in all
	$(GO) test -timeout 15m $(TESTFLAGS) -coverpkg=./... -coverprofile=coverage.out $(PACKAGES)
	@# A statement is covered when any package's tests reach it. Each test binary lists every block once.
	@awk 'NR > 1 { size[$$1] = $$2; if ($$3 > 0) hit[$$1] = 1 } \
		END { for (b in size) { p = b; sub("/[^/]*$$", "", p); all[p] += size[b]; sum += size[b]; \
		                        if (hit[b]) { in_p[p] += size[b]; in_all += size[b] } } \
		      for (p in all) printf "%5.1f%%  %s\n", 100 * in_p[p] / all[p], p | "sort -k2"; close("sort -k2"); \
		      printf "%5.1f%%  total\n", 100 * in_all / sum }' coverage.out

# How often each target of make fuzz is executed, or for how long: 1000000x, 1m.
FUZZTIME ?= 1000000x

.PHONY: fuzz
fuzz: ## Run every fuzz target FUZZTIME times, such as 1000000x, or so long, such as 1m
	@set -e; grep -rHo '^func Fuzz[A-Za-z]*' --include='*_test.go' . | \
		sed -E 's|^(.*)/[^/]*:func (.*)|\1 \2|' | sort | while read -r package target; do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $(TESTFLAGS) "$$package"; \
		done

.PHONY: matrix
matrix: ## Run the suite on every kind of store, and write the matrix of docs/contract.md
	$(GO) run ./cmd/skykv/command/internal/matrix

.PHONY: rules
rules: ## Write the rules of the suite into docs/contract.md
	$(GO) run ./cmd/skykv/command/internal/matrix -rules

# Calls of each provider in the check of linearizability, and beside another program.
OPERATIONS ?= 20000

.PHONY: torture
torture: ## Run what tests run under faults at length; SKYKV_SEED=N repeats a run
	SKYKV_INTERLEAVE=$(OPERATIONS) $(GO) test -count=1 -timeout 1h -v -run '^TestInterleaving$$' ./providers/dynamokv ./providers/firestorekv ./providers/aztableskv
	SKYKV_KILL_ROUNDS=100 $(GO) test -count=1 -v -run '^TestKill$$' ./providers/localkv
	SKYKV_ENTRIES=100000 $(GO) test -count=1 -timeout 1h -v -run 'AtRandom/(killed|interrupt|file|dynamodb|aztables)' ./cmd/skykv/command
	@# Firestore's emulator looks at all documents in every query.
	SKYKV_ENTRIES=20000 $(GO) test -count=1 -timeout 1h -v -run 'AtRandom/firestore' ./cmd/skykv/command
	cd internal/testing/torture && SKYKV_TORTURE=$(OPERATIONS) SKYKV_PROGRAMS=40 $(GO) test -count=1 -timeout 2h $(TESTFLAGS)

# The nested modules that others may require.
PUBLISHED := adapters kv/cache kv/kvotel kv/seal

.PHONY: version
version: ## Let the nested modules require VERSION of the root, and print the tags of a release
	@echo '$(VERSION)' | grep -Eq '^v[0-9]+\.[0-9]+\.[0-9]+' || { echo 'VERSION must be that of the release, such as v0.1.0'; exit 2; }
	@set -e; for folder in $(PUBLISHED); do (cd $$folder && $(GO) mod edit -require=github.com/skykv/skykv@$(VERSION)); done
	@set -e; for folder in $(NESTED); do (cd $$folder && $(GO) mod tidy); done
	@echo 'Commit the changes. Then create and push these tags:' $(VERSION) $(PUBLISHED:%=%/$(VERSION))

# The folder of the reports of make cloud.
REPORTS ?= cloud-reports

.PHONY: cloud
cloud: ## Check the real stores that SKYKV_CLOUD_URLS names, and write a report of each to REPORTS
	@test -n "$(SKYKV_CLOUD_URLS)" || { echo 'SKYKV_CLOUD_URLS must name empty stores of real accounts: see docs/services.md'; exit 2; }
	mkdir -p $(REPORTS)
	SKYKV_CLOUD_REPORTS=$(abspath $(REPORTS)) $(GO) test -count=1 -timeout 4h -v -run '^TestCloud$$' $(TESTFLAGS) ./internal/testing/cloud

.PHONY: bench
bench: ## Measure skykv beside the SDKs and its peers, print tables and goals, write docs/figures.md
	cd internal/bench && $(GO) run . -plots ../../docs/bench -figures ../../docs/figures.md

# The platforms that a release has the command for.
RELEASES ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: release
release: ## Build the command for RELEASES into dist/, with completions and checksums
	rm -rf dist && mkdir -p dist/completions
	@set -e; for shell in bash zsh fish powershell; do $(GO) run ./cmd/skykv completion $$shell > dist/completions/skykv.$$shell; done
	@set -e; for platform in $(RELEASES); do \
		os=$${platform%/*}; arch=$${platform#*/}; folder=dist/skykv-$$os-$$arch; binary=skykv; \
		if [ $$os = windows ]; then binary=skykv.exe; fi; \
		mkdir -p $$folder; cp -r LICENSE dist/completions $$folder; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -o $$folder/$$binary ./cmd/skykv; \
		tar -C dist -czf $$folder.tar.gz skykv-$$os-$$arch; \
		echo $$folder; \
	done
	@awk '/^## /{ n++ } n == 1' CHANGELOG.md > dist/notes.md
	cd dist && sha256sum *.tar.gz > SHA256SUMS

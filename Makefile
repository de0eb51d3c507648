# Each target sets up what it needs: system packages by tests/scripts/prerequisites.sh, Python and Node packages from
# pinned, hashed lists under target/. Only Rust (and, for the client tests, Python and Node) must be there before.

SCRIPTS := tests/scripts
CARGO ?= cargo
# The whole workspace is always selected where tests are built: a narrower choice would compile the shared
# dependencies again with other features.
CARGO_TEST := $(CARGO) test --workspace --locked
# The licence that only the fuzzers need is an exception that Clyra's own tree does not meet.
DENIED := --hide-inclusion-graph -A license-exception-not-encountered bans licenses sources
CAMPAIGN := $(CARGO) run --locked -p clyra-campaigns --bin campaign --

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build quickstart test test-long fuzz fuzz-short bench-peers test-rust test-go test-thirdparty test-clients test-clients-core test-recorded-sdks test-anchors test-ts vectors mutations lint leak-matrix crash crash-long faults powercut seeded-bugs bench demo-model clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build the clyra binary, optimised (target/release/clyra)
	@$(SCRIPTS)/prerequisites.sh build
	$(CARGO) build --locked --release -p clyra --bin clyra

quickstart: ## see Clyra at work in a minute, no key needed (ARGS="--once" ends by itself)
	@$(SCRIPTS)/prerequisites.sh build
	$(CARGO) run --locked -p clyra --bin clyra -- quickstart $(ARGS)

test: test-rust fuzz-short test-go test-ts test-thirdparty test-clients-core test-anchors ## run all tests; what is skipped is said

test-rust: ## run the Rust tests
	@$(SCRIPTS)/prerequisites.sh build trace
	$(CARGO_TEST) --no-fail-fast
	@$(SCRIPTS)/shared-data.sh

fuzz: ## fuzz the decoders, each SECONDS=60 (TARGETS="sse json": only these); what is found lies in target/fuzz/artifacts
	@$(SCRIPTS)/fuzz.sh run $(or $(SECONDS),60) $(TARGETS)

fuzz-short: ## fuzz each decoder with a fixed number of inputs
	@$(SCRIPTS)/fuzz.sh short $(TARGETS)

test-go: ## test the independent verifier in Go and the action that runs it
	@$(SCRIPTS)/go-verifier.sh

test-anchors: ## anchor with an S3 server, a time-stamp authority and a calendar; others' tools judge
	@$(SCRIPTS)/anchors.sh

test-thirdparty: ## evidence before libraries that others wrote (Go's sumdb, DSSE)
	@$(SCRIPTS)/prerequisites.sh build
	@$(SCRIPTS)/thirdparty.sh

test-clients-core: ## run the OpenAI, Anthropic, Google and Ollama SDKs against a real Clyra, with recorded answers as well
	@$(SCRIPTS)/clients.sh core
	@$(SCRIPTS)/recorded-sdks.sh core

test-clients: ## the same, and Bedrock, Cohere, LangChain, LiteLLM, the AI SDK of Vercel, and the client of MCP
	@$(SCRIPTS)/clients.sh
	@$(SCRIPTS)/recorded-sdks.sh

test-recorded-sdks: ## play recorded answers through Clyra to the providers' SDKs, and compare what they read with what Clyra saw
	@$(SCRIPTS)/recorded-sdks.sh

test-ts: ## test the TypeScript verifier, in Node and in a browser
	@$(SCRIPTS)/ts-verifier.sh

vectors: ## the three verifiers over the golden vectors: a matrix of who passes how many
	@$(SCRIPTS)/prerequisites.sh build
	@$(SCRIPTS)/verifiers.sh table

mutations: ## every byte of a journal and a bundle changed, and thousands of odd logs, in all three verifiers
	@$(SCRIPTS)/prerequisites.sh build
	@$(SCRIPTS)/verifiers.sh mutations

lint: ## check format, lints, docs, dependencies and scripts
	@$(SCRIPTS)/prerequisites.sh build python
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(SCRIPTS)/fuzz.sh lint
	$(SCRIPTS)/tools.sh cargo deny --locked check $(DENIED)
	$(SCRIPTS)/tools.sh cargo deny --locked --manifest-path tests/fuzz/Cargo.toml check $(DENIED)
	$(SCRIPTS)/tools.sh shellcheck .ci/run $(SCRIPTS)/*.sh tests/fuzz/*.sh tests/clients/*.sh tests/demo-model/*.sh deploy/github-action/*/*.sh
	$(SCRIPTS)/check-javascript.sh k6/*.js tests/clients/node/*.mjs tests/clients/node/more/*.mjs tests/demo-model/*.mjs

test-long: ## SchemaLock over a million documents made by chance, in release (SCHEMAS=130000, eight documents each)
	@$(SCRIPTS)/prerequisites.sh build
	CLYRA_FALSIFIER_SCHEMAS=$(or $(SCHEMAS),130000) $(CARGO) test --locked --release -p clyra-schemas --test falsifier -- --nocapture

leak-matrix: ## print where a forbidden text could leak and that it does not
	@$(SCRIPTS)/prerequisites.sh build
	CLYRA_PRINT_MATRIX=1 $(CARGO_TEST) --test e2e matrix -- --nocapture --test-threads=1

crash: ## kill -9 under load 200 times (CYCLES=200), and under sessions; no completed answer may lose its receipts
	@$(SCRIPTS)/prerequisites.sh build
	CLYRA_CRASH_CYCLES=$(or $(CYCLES),200) $(CARGO_TEST) --test crash killed -- --nocapture

crash-long: ## the same 10,000 times (CYCLES=10000): some hours
	@$(MAKE) --no-print-directory crash CYCLES=$(or $(CYCLES),10000)

faults: ## let each system call of the journal's writer fail once (EVERY=1: each n-th of them)
	@$(SCRIPTS)/prerequisites.sh build trace
	$(CAMPAIGN) faults --every $(or $(EVERY),1)

powercut: ## cut the power at POINTS=500 places of a recorded block device; needs root, FUSE and loop devices
	@$(SCRIPTS)/prerequisites.sh build trace powercut
	$(CAMPAIGN) powercut --points $(or $(POINTS),500)
	$(CAMPAIGN) powercut --points $(or $(POINTS),500) --mount data=writeback --seed 2
	$(CAMPAIGN) powercut --points 50 --without fdatasync
	$(CAMPAIGN) powercut --points 50 --without fsync,fdatasync

seeded-bugs: ## put known bugs into a copy of the journal; each must be caught
	@$(SCRIPTS)/prerequisites.sh build trace
	$(CAMPAIGN) seeded-bugs

demo-model: ## see a real small language model behind Clyra (Linux on x86-64; fetches 100 MB of weights)
	@$(SCRIPTS)/demo-model.sh

bench: ## measure decode, guard, receipts and the latency that the proxy adds
	@$(SCRIPTS)/prerequisites.sh build
	$(CARGO) bench --workspace --locked --bench '*'

bench-peers: ## measure other libraries on the documents of SchemaLock's benchmark
	@$(SCRIPTS)/prerequisites.sh build
	$(CARGO) bench --locked --manifest-path schemas/benches/peers/Cargo.toml --target-dir target/peers

clean: ## remove everything that was built or installed here
	$(CARGO) clean
	rm -rf target/clients target/demo-model target/tools
	rm -rf receipts/verifiers/ts/node_modules receipts/verifiers/ts/dist receipts/verifiers/ts/build

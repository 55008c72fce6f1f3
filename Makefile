# keyferry: everything a checkout can do. `make demo` and `make test` install what they need.
#
# Needs a Rust toolchain, Python 3 with pip, make and a C compiler. `make test` installs Debian's
# redis-server if it is missing (root or sudo); `make demo` needs no root.

PYTHON ?= python3
CARGO ?= cargo

.PHONY: help build servers demo test soak memory check bench fuzz clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## target/release/keyferry
	$(CARGO) build --release --locked

servers: ## Real servers for the tests, into target/servers/
	$(PYTHON) scripts/servers.py install

demo: build ## 200 MB of mixed data from a Redis to a Valkey, on throw-away servers
	$(PYTHON) scripts/servers.py install redis62 valkey91
	$(PYTHON) scripts/demo.py

# Most tests wait for servers or for clocks most of the time.
CORES := $(shell getconf _NPROCESSORS_ONLN)
test: export NEXTEST_TEST_THREADS ?= $(shell expr 2 \* $(CORES))
test: export RUST_TEST_THREADS ?= $(NEXTEST_TEST_THREADS)
test: servers ## All tests, against real servers
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --all-targets --no-fail-fast && $(CARGO) test --locked --doc --quiet; \
	else \
	  $(CARGO) test --locked --no-fail-fast; \
	fi

SOAK = $(CARGO) test --locked --test end_to_end

soak: servers ## Copies, moves and clean-ups through random faults, wrong replies, killed runs (see CONTRIBUTING.md)
	test -n "$(KEYFERRY_CASE)$(KEYFERRY_MOMENTS)" || $(SOAK) faults::random::soak -- --ignored --exact --nocapture
	test -n "$(KEYFERRY_CASE)$(KEYFERRY_MOMENTS)" || $(SOAK) faults::moves::soak -- --ignored --exact --nocapture
	test -n "$(KEYFERRY_SEED)$(KEYFERRY_CASE)$(KEYFERRY_MOMENTS)" || $(SOAK) fifty_runs -- --ignored --nocapture
	test -n "$(KEYFERRY_SEED)$(KEYFERRY_MOMENTS)" || $(SOAK) faults::replies::soak -- --ignored --exact --nocapture
	test -z "$(KEYFERRY_MOMENTS)" || $(SOAK) copy::moments::soak -- --ignored --exact --nocapture

memory: servers ## What runs have resident at most, on data made to need much
	$(CARGO) test --locked --test end_to_end bad_input::memory -- --nocapture --test-threads 1

check: ## Format, lints, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

bench: build ## Every bar of speed and memory on every data set, into benches/runs/ (half an hour)
	scripts/bench.sh

fuzz: ## Every fuzz target for ten minutes
	scripts/fuzz.sh

clean: ## Remove target/, servers and all
	$(CARGO) clean

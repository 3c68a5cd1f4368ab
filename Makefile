# What a newcomer needs is two commands: `make run` and `make test`. `make help` lists the rest.

PORT ?= 1883
PREFIX ?= /usr/local
CARGO ?= cargo

target := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@sed -n 's/^\([a-z0-9 -]*\):.*## */\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

run: ## build the release and start mqttd on localhost (PORT=1883)
	@scripts/run-mqttd --check $(PORT)
	$(CARGO) build --release --bins
	@scripts/run-mqttd $(PORT)

test: ## install what the tests need, build, run all tests
	@scripts/run-tests

mutants: ## break the code row by row (tests/mutants): does each row's test fail? (ROWS=words)
	@scripts/mutants $(ROWS)

check: ## formatting, and clippy with warnings as errors
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## format all Rust files
	$(CARGO) fmt --all

build: ## build the release
	$(CARGO) build --release --bins

docs: build ## man pages and completions of the tools, into target/docs; mqttd.conf's manual
	MQTTD_BLESS=1 $(CARGO) test --quiet -p mqttd-conf --test manual
	scripts/docs $(target)/release $(target)/docs

install: docs ## install into $(DESTDIR)$(PREFIX), /usr/local unless told otherwise
	scripts/install $(target)/release $(target)/docs $(DESTDIR)$(PREFIX)

sim: ## the broker in a simulated world: seeds until one breaks a promise (SEED=n or SEED=a..b)
	$(CARGO) run --quiet --package mqttd-sim -- $(SEED)

fuzz-smoke: ## a seeded mutation loop over everything that parses foreign bytes (MQTTD_FUZZ_SECONDS=n each)
	$(CARGO) test --quiet --package mqttd-fuzz -- --nocapture

hostile: ## hostile peers against the real binary; docs/security.md is their table
	$(CARGO) build --package mqttd --package mqtt-cli --package mqtt-bench
	$(CARGO) test --package mqttd-tests --test 'hostile_*'

bench: ## compare with Debian's mosquitto, write docs/benchmarks.md
	@scripts/bench

bench-count: ## instructions of the hot paths against docs/bench-count.tsv
	@scripts/bench-count

# What goes into packages. Folders of this machine have no place in it: the same sources, compiler
# and libraries should give the same bytes anywhere; scripts/reproducible compares.
cargo_home := $(or $(CARGO_HOME),$(HOME)/.cargo)
psk: export RUSTFLAGS := $(strip $(RUSTFLAGS) --remap-path-prefix=$(CURDIR)=/mqttd \
	--remap-path-prefix=$(cargo_home)=/cargo)
psk:
	$(CARGO) build --release -p mqtt-bench
	$(CARGO) build --release -p mqttd -p mqtt-cli --features mqttd/psk,mqtt-cli/psk

client-docs: ## documentation of the library mqtt-client, into target/doc
	rm -rf $(target)/doc
	$(CARGO) doc --quiet --no-deps -p mqtt-client -p mqtt-net -p mqtt-proto

deb: psk client-docs ## Debian packages for this machine's architecture, into target/debian
	@scripts/deb/build

# The compilers are Debian's, in a root of their own.
deb-arm64 deb-armhf: deb-%: ## the same for other architectures: Raspberry Pi OS, 64 or 32 bits
	@scripts/cross/deb $*

deb-test: ## the packages of `make deb` in a booted Debian: install, upgrade, switch, purge (root)
	@scripts/deb-test/run

release: deb ## packages, sources, bill of materials, checksums, into target/release-VERSION
	@scripts/release

tarball: ## static programs for any Linux, into target/tarball (ARCH="amd64 arm64 armv7 armv6")
	@scripts/static/tarball $(or $(ARCH),amd64)

oci: ## container image (an OCI layout), into target/oci (ARCH="amd64 arm64")
	@scripts/oci/build $(or $(ARCH),amd64 arm64)

clean: ## remove what was built; the data in run/ stays
	$(CARGO) clean

.PHONY: help run test sim fuzz-smoke hostile mutants check fmt build psk docs install bench \
	bench-count client-docs deb deb-arm64 deb-armhf deb-test release tarball oci clean

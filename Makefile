# The few commands people type. Everything runs as root on Debian 12 or newer:
# the suites boot guests in containers with their own systemd and volumes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Expanded when a recipe runs: the toolchain may only just have been installed.
HOST = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE = target/$(HOST)/release/trove-guestagent
LAB := tests/lab/cli

# Panic messages name source files: those of a release by their place in the
# registry and the repository, not on the machine that built it.
CARGO_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
RELEASE_FLAGS = "--remap-path-prefix=$(CARGO_DIR)/registry/src=registry", \
         "--remap-path-prefix=$(CURDIR)=."$(if $(wildcard $(LLD)),$(LLD_FLAGS))
# With the linker that Rust's own toolchain brings, the binary is made smaller by
# two megabytes: identical functions once, relocations packed (a static glibc
# understands them since 2.36), no tables for unwinding.
LLD = $(shell rustc --print sysroot)/lib/rustlib/$(HOST)/bin/gcc-ld/ld.lld
LLD_FLAGS = , "-Clink-arg=-Wl,--icf=all", "-Clink-arg=-Wl,-z,pack-relative-relocs", \
         "-Clink-arg=-Wl,--no-eh-frame-hdr", "-Clink-arg=-Wl,-T,$(CURDIR)/src/agent/link/release.ld"

PREFIX ?= /usr/local
DESTDIR ?=
DATASTORE ?= mariadb

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: toolchain
toolchain: # Debian's current Rust when the machine has none (package cargo-web)
	@command -v cargo >/dev/null || { apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends cargo-web; }

.PHONY: deps
deps: toolchain ## install what building and testing need (Debian, PyPI); idempotent
	$(LAB) packages
	$(LAB) fetch

.PHONY: build
build: ## build the agent for development
	cargo build --package trove-guestagent

.PHONY: demo
demo: toolchain ## create a MySQL instance through the real Trove control plane, step by step
	$(LAB) packages
	cargo build --package trove-guestagent
	$(LAB) demo

.PHONY: quick
quick: ## tests that need no server: about a minute once built
	cargo test --workspace

.PHONY: test
test: deps quick test-servers test-stores build dist ## set up and pass all tests
	+$(MAKE) --no-print-directory --jobs=$(LANES) --output-sync=target $(SUITES:%=lane-%)

# The suites that need a control plane wait more than they work: as many at a
# time, each with a lab of its own. The longest come first.
LANES ?= 3
SUITES := backups replication postgresql scenarios mysql image wire fleet static
STATE := $(or $(TROVE_LAB_STATE),/var/tmp/trove-guestagent-lab)

.PHONY: $(SUITES:%=lane-%)
$(SUITES:%=lane-%): lane-%:
	@export TROVE_LAB_STATE=$(STATE)-$*; started=$$SECONDS; \
	$(MAKE) --no-print-directory test-$*; \
	$(LAB) clean; \
	echo "test-$*: $$((SECONDS - started)) s"

.PHONY: test-servers
test-servers: ## the datastore crates against real database servers
	$(LAB) servers -- cargo test --package mysql-family --features real-servers
	$(LAB) servers --postgresql 17 -- cargo test --package postgresql --features real-servers

.PHONY: test-series
test-series: ## the same for the other series of PostgreSQL; not part of `make test`
	for series in 15 18; do \
	  $(LAB) servers --postgresql $$series -- \
	    cargo test --package postgresql --features real-servers; \
	done

.PHONY: test-stores
test-stores: ## the object store crate against a real Swift, by its own API and by S3's
	cargo test $(STORES) --no-run
	$(LAB) object-store -- cargo test --offline $(STORES)

.PHONY: test-wire
test-wire: build ## the agent against a real RabbitMQ and oslo.messaging's own client
	$(LAB) pytest tests/wire

.PHONY: test-scenarios
test-scenarios: build ## whole lives of instances through the real control plane
	$(LAB) pytest tests/scenarios

.PHONY: test-backups
test-backups: build ## backups and restores with a real Swift, and with upstream's program
	$(LAB) pytest tests/backups

.PHONY: test-mysql
test-mysql: build ## the second day of MySQL and MariaDB: groups, flavors, root disks, versions
	$(LAB) pytest tests/mysql

.PHONY: test-replication
test-replication: build ## sources and replicas: made, promoted, ejected, cut off, with TLS
	$(LAB) pytest tests/replication

.PHONY: test-postgresql
test-postgresql: build ## what is special about PostgreSQL: names, backups, series
	$(LAB) pytest tests/postgresql

.PHONY: test-fleet
test-fleet: build ## a few dozen agents on one broker, with the real conductor
	$(LAB) pytest tests/fleet

.PHONY: fleet
fleet: dist ## the same with 1,000 agents, for docs/scale.md
	TROVE_FLEET=1000 TROVE_FLEET_PERIOD=120 TROVE_GUESTAGENT_BINARY=$(CURDIR)/dist/trove-guestagent \
	  $(LAB) pytest tests/fleet --capture=no

.PHONY: soak
soak: build ## an hour of calls, backups and crashes of the broker: nothing may grow
	$(LAB) pytest tests/soak --capture=no

.PHONY: test-static
test-static: dist ## the release binary in foreign and empty roots
	$(LAB) pytest tests/static

.PHONY: test-image
test-image: dist ## a guest image, and a life of it in a container
	TROVE_GUESTAGENT_BINARY=$(CURDIR)/dist/trove-guestagent \
	  $(LAB) pytest tests/image/test_content.py tests/image/test_container.py

.PHONY: test-image-vm
test-image-vm: dist ## the image as an emulated machine: half an hour; not part of `make test`
	TROVE_GUESTAGENT_BINARY=$(CURDIR)/dist/trove-guestagent TROVE_LAB_PATIENCE=6 \
	  $(LAB) pytest tests/image/test_content.py tests/image/test_virtual.py

.PHONY: check
check: ## formatting, lints, dependency policy, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	python3 tests/policy/dependencies.py
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

.PHONY: dist
dist: ## build the static release binary dist/trove-guestagent
	cargo build --release --package trove-guestagent \
	  --config 'target.$(HOST).rustflags=[$(RELEASE_FLAGS)]'
	install -D -m 0755 $(RELEASE) dist/.trove-guestagent
	mv dist/.trove-guestagent dist/trove-guestagent # suites may be copying the other
	@ldd dist/trove-guestagent 2>&1 | grep -q -E 'statically linked|not a dynamic' \
	  || { echo "dist/trove-guestagent is not static" >&2; exit 1; }
	@ls -l dist/trove-guestagent

.PHONY: image
image: dist ## build a guest image: make image DATASTORE=mariadb
	$(LAB) image $(DATASTORE) target/image/trove-$(DATASTORE) --binary=dist/trove-guestagent

.PHONY: bench
bench: deps dist ## side-by-side benchmarks against upstream's agent; writes target/bench/results.json
	$(LAB) bench

# What `install` takes; tests put another one into their guests.
BINARY ?= dist/trove-guestagent
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd
SYSTEM := $(DESTDIR)/usr/lib

.PHONY: install
install: ## lay binary and units out under DESTDIR
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/trove-guestagent
	install -D -m 0644 -t $(UNITS)/system systemd/*.service
	install -D -m 0644 -t $(UNITS)/system-preset systemd/system-preset/*.preset
	install -D -m 0644 -t $(SYSTEM)/sysusers.d systemd/sysusers.d/*.conf
	install -D -m 0644 -t $(SYSTEM)/tmpfiles.d systemd/tmpfiles.d/*.conf
	install -D -m 0644 -t $(SYSTEM)/systemd/journald.conf.d systemd/journald.conf.d/*.conf
	install -D -m 0644 -t $(SYSTEM)/systemd/catalog systemd/*.catalog
	install -D -m 0644 -t $(SYSTEM)/systemd/networkd.conf.d systemd/networkd.conf.d/*.conf

.PHONY: clean
clean: ## end the lab and remove build results; the lab's cache stays
	-$(LAB) clean
	rm -rf dist
	cargo clean

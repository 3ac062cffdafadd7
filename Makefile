# The tasks of the project. Each does its own set-up; `make help` lists them.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo test build bench install sbom soak clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## run the camera pipelines on real frames and show what came of it
	@tests/setup.sh build
	@examples/demo.sh

test: ## everything that must pass: formatting, lints, licences, documentation, tests, fuzzing, flight library, modules
	@tests/run.sh

build: ## release binaries in target/release, a wheel and an npm tarball in target/dist
	@tests/setup.sh build
	$(CARGO) build --release --workspace --lib --bin fuse --bin fuse-host-agent
	host-agent/scripts/build-fused.sh
	@bindings/build.sh

bench: ## the benchmarks, each beside its rival
	@tests/setup.sh build
	@tests/bench.sh

install: build ## install below PREFIX (default /usr/local), or below DESTDIR for packages
	install -s -D -m 755 target/release/fuse $(DESTDIR)$(PREFIX)/bin/fuse
	install -s -D -m 755 target/release/fuse-host-agent $(DESTDIR)$(PREFIX)/bin/fuse-host-agent
	install -D -m 755 "$$(host-agent/scripts/build-fused.sh)" $(DESTDIR)$(PREFIX)/bin/fused
	install -d $(DESTDIR)$(PREFIX)/share/fuse-runtime/host-agent/scripts $(DESTDIR)$(PREFIX)/share/fuse-runtime/host-agent/systemd
	install -m 755 host-agent/scripts/*.sh host-agent/scripts/*.py $(DESTDIR)$(PREFIX)/share/fuse-runtime/host-agent/scripts
	install -m 644 host-agent/systemd/* $(DESTDIR)$(PREFIX)/share/fuse-runtime/host-agent/systemd
	fuse-ffi/flight/build.sh target/release
	fuse-ffi/install.sh target/release "$(DESTDIR)" "$(PREFIX)"
	install -D -m 644 include/fuse_module.h $(DESTDIR)$(PREFIX)/include/fuse-runtime/fuse_module.h
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/fuse-runtime/LICENSE

sbom: ## a bill of materials (CycloneDX) of each program and library, in target/sbom
	@tests/setup.sh build
	@tests/sbom.sh target/sbom

soak: ## the long forms of the tests (hours)
	@FUSE_SOAK=1 tests/run.sh

clean: ## remove what was built
	$(CARGO) clean

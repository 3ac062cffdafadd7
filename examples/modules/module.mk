# How the modules of the examples are built: one place for toolchain and flags.
#
# A folder of modules sets MODULES (the .wasm files that it wants) and includes this file;
# NAME.wasm is built from NAME.c, NAME_cpp.wasm from NAME.cpp, NAME_rust.wasm from NAME.rs and
# NAME_zig.wasm from NAME.zig. OUT says where to (the folder itself by default: the .wasm files
# are in the repository). The same sources give the same bytes on every machine with the same
# toolchain, which tests/modules-check.sh checks.
#
#   C, C++   Debian: clang-14 lld-14
#   Rust     Debian: rustc libstd-rust-dev-wasm32 (by path: rustup's rustc has no wasm32 library)
#   Zig      PyPI: ziglang (tests/modules-check.sh has the version)
ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../..)
OUT ?= .
CLANG ?= clang-14
CLANGXX ?= clang++-14
WASM_RUSTC ?= /usr/bin/rustc
ZIG ?= zig

# Bytes of the stack that C keeps in linear memory. It lies below the data, so that an overflow
# runs into address 0 and traps instead of overwriting variables.
SHADOW_STACK ?= 8192

WASM_CFLAGS = --target=wasm32-unknown-unknown -O2 -ffreestanding -nostdlib -mbulk-memory \
    -fvisibility=hidden -Wall -Wextra -Wpedantic -Werror -I$(ROOT)/include -I$(ROOT)/examples/modules \
    $(MODULE_CFLAGS)
WASM_LDFLAGS = -Wl,--no-entry -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=$(SHADOW_STACK) \
    $(MODULE_LDFLAGS)
HEADERS = $(ROOT)/include/fuse_module.h $(wildcard $(ROOT)/examples/modules/*.h) $(wildcard *.h)

.PHONY: all clean
all: $(addprefix $(OUT)/,$(MODULES))

$(OUT)/%_cpp.wasm: %.cpp $(HEADERS)
	$(CLANGXX) -std=c++17 -fno-exceptions -fno-rtti -Werror=global-constructors $(WASM_CFLAGS) $(WASM_LDFLAGS) -o $@ $<
	chmod 644 $@

$(OUT)/%_rust.wasm: %.rs $(ROOT)/bindings/module/rust/src/lib.rs
	d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && \
	$(WASM_RUSTC) --edition 2021 --target wasm32-unknown-unknown --crate-type rlib \
	    --crate-name fuse_module -C opt-level=2 -C panic=abort --remap-path-prefix $(ROOT)=. \
	    -o "$$d/libfuse_module.rlib" $(ROOT)/bindings/module/rust/src/lib.rs && \
	$(WASM_RUSTC) --edition 2021 --target wasm32-unknown-unknown --crate-type cdylib \
	    --crate-name $* -C opt-level=2 -C panic=abort -C lto=fat -C codegen-units=1 -C strip=symbols \
	    -C linker=wasm-ld-14 -C linker-flavor=wasm-ld -C link-arg=--stack-first \
	    -C link-arg=-zstack-size=$(SHADOW_STACK) --remap-path-prefix $(ROOT)=. \
	    --extern fuse_module="$$d/libfuse_module.rlib" -o $@ $<
	chmod 644 $@

$(OUT)/%_zig.wasm: %.zig $(ROOT)/bindings/module/zig/fuse.zig
	d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && \
	$(ZIG) build-exe -target wasm32-freestanding -O ReleaseSmall -fstrip -fno-entry -rdynamic \
	    --stack $(SHADOW_STACK) --cache-dir "$$d" --global-cache-dir "$$d" \
	    --dep fuse -Mroot=$< -Mfuse=$(ROOT)/bindings/module/zig/fuse.zig -femit-bin=$@
	chmod 644 $@

$(OUT)/%.wasm: %.c $(HEADERS)
	$(CLANG) -std=c11 $(WASM_CFLAGS) $(WASM_LDFLAGS) -o $@ $<
	chmod 644 $@

# Only what a build outside this folder made: the .wasm files here are part of the repository.
clean:
	if [ "$(OUT)" != "." ]; then rm -f $(addprefix $(OUT)/,$(MODULES)); fi

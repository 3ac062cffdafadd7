#!/bin/sh
# Rebuilds every module that the repository ships as .wasm and compares it, byte for byte, with
# the one that is committed; builds the module templates of `fuse module new`; tests the frame
# code of the examples, frame_filter, the kernels of the benchmark and the module crate natively.
#
#   tests/modules-check.sh            checks
#   tests/modules-check.sh --update   puts what it built in the place of what is committed
#
# Toolchains: Debian's clang-14 and lld-14, Debian's rustc with libstd-rust-dev-wasm32, and Zig
# from PyPI (package ziglang). What is missing is installed: with apt-get (as root, or through
# sudo), and Zig into $FUSE_TOOLS (default: target/tools).
set -eu

zig_version=0.15.2
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=${FUSE_TOOLS:-$root/target/tools}
update=no
case "${1:-}" in
"") ;;
--update) update=yes ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
passed=0

say() { printf 'modules-check: %s\n' "$*"; }

verdict() { # ok|bad TEXT
    if [ "$1" = ok ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "FAILED: $2"
    fi
}

install_packages() {
    missing=
    for want in "$@"; do
        dpkg-query -W -f='${Status}' "$want" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $want"
    done
    [ -z "$missing" ] && return 0
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    say "installing Debian packages:$missing"
    # shellcheck disable=SC2086 # a list of words
    if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install \
        -y -qq --no-install-recommends $missing; } >"$out/apt.log" 2>&1; then
        tail -n 20 "$out/apt.log" >&2
        say "could not install$missing: install them by hand and run this again" >&2
        exit 1
    fi
}

install_zig() {
    python=$tools/zig-$zig_version/bin/python
    if ! "$python" -m ziglang version >/dev/null 2>&1; then
        say "installing ziglang $zig_version from PyPI into $tools"
        mkdir -p "$tools"
        python3 -m venv "$tools/zig-$zig_version"
        "$python" -m pip install -q --disable-pip-version-check "ziglang==$zig_version"
    fi
    zig="$python -m ziglang"
}

# Builds the modules of one folder and compares them with those in it.
check_folder() {
    folder=$1
    built=$out/$folder
    mkdir -p "$built"
    if ! make -s -C "$root/$folder" OUT="$built" ZIG="$zig" CLANG=clang-14 CLANGXX=clang++-14 >"$built.log" 2>&1; then
        cat "$built.log" >&2
        verdict bad "$folder does not build"
        return
    fi
    for wasm in "$built"/*.wasm; do
        committed=$root/$folder/${wasm##*/}
        if cmp -s "$wasm" "$committed"; then
            verdict ok "$folder"
        elif [ "$update" = yes ]; then
            cp "$wasm" "$committed"
            say "updated $folder/${wasm##*/}"
        else
            verdict bad "$folder/${wasm##*/} is not what its source builds: run tests/modules-check.sh --update and commit the result"
        fi
    done
    for committed in "$root/$folder"/*.wasm; do
        [ -e "$built/${committed##*/}" ] || verdict bad "$folder/${committed##*/} has no source in its Makefile"
    done
}

check_templates() {
    templates=$root/fuse-cli/templates/module
    for lang in c cpp rust zig; do
        new=$out/new/$lang
        mkdir -p "$new"
        for file in "$templates/app_config.json" "$templates/$lang"/*; do
            sed 's/{{name}}/first-light/g' "$file" >"$new/${file##*/}"
        done
        cp "$root/include/fuse_module.h" "$root/bindings/module/zig/fuse.zig" "$new"
        cp "$root/bindings/module/rust/src/lib.rs" "$new/fuse_module.rs"
        if make -s -C "$new" ZIG="$zig" >"$new/log" 2>&1 && [ -s "$new/first-light.wasm" ]; then
            verdict ok "$lang"
        else
            cat "$new/log" >&2
            verdict bad "the $lang template does not build"
        fi
    done
}

check_natively() {
    modules=$root/examples/modules
    if cargo test -q --manifest-path "$root/bindings/module/rust/Cargo.toml" \
        --target-dir "${CARGO_TARGET_DIR:-$root/target}/module-crate" >"$out/crate.log" 2>&1; then
        verdict ok fuse-module
    else
        cat "$out/crate.log" >&2
        verdict bad "the crate fuse-module"
    fi
    if cc -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -g -fsanitize=address,undefined \
        -fno-sanitize-recover=all -o "$out/frame_rle_test" "$modules/frame_rle_test.c" &&
        "$out/frame_rle_test"; then
        verdict ok frame_rle
    else
        verdict bad "the frame code of the examples"
    fi
    filter=$root/examples/camera_filter_compress/modules
    if cc -std=c11 -Wall -Wextra -Wpedantic -Werror -g -fsanitize=address,undefined -I"$root/include" \
        -I"$modules" -o "$out/frame_filter_test" "$filter/frame_filter_test.c" "$filter/frame_filter.c" &&
        "$out/frame_filter_test"; then
        verdict ok frame_filter
    else
        verdict bad "frame_filter, tested natively"
    fi
    kernels=$root/tests/bench/kernels
    if make -s -C "$kernels" native OUT="$out" && cc -std=c11 -Wall -Werror -I"$kernels" \
        -o "$out/checksums" "$kernels/checksums.c" "$out/libkernels.a" &&
        "$out/checksums" >"$out/checksums.txt" && diff "$kernels/checksums.txt" "$out/checksums.txt"; then
        verdict ok kernels
    else
        verdict bad "the native kernels do not give the checksums of tests/bench/kernels/checksums.txt"
    fi
}

install_packages clang-14 lld-14 rustc libstd-rust-dev-wasm32 python3-venv make
install_zig
for folder in examples/camera_compress/modules examples/camera_filter_compress/modules tests/bench/kernels; do
    check_folder "$folder"
done
check_templates
check_natively
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

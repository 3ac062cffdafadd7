#!/usr/bin/env bash
# Builds the runtime without std, compares what it needs from outside with the allowed list, and runs it from C.
# usage: check.sh FUSE   (the `fuse` program, which compiles the module)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fuse=$1
target=${CARGO_TARGET_DIR:-$here/../../target}/no-std
cargo build --quiet --release --manifest-path "$here/Cargo.toml" --target-dir "$target"
archive=$target/release/libfuse_no_std.a
out=$target/check
mkdir -p "$out"

# Everything that the entry points reach, linked into one object: what is undefined there is what the host must give.
entry=check_open,-u,check_tick,-u,check_close
printf '{ global: check_*; local: *; };' >"$out/exports"
cc -shared -nostdlib -Wl,--gc-sections,--version-script="$out/exports",-u,$entry -o "$out/all.so" "$archive"
readelf --dyn-syms --wide "$out/all.so" | awk '$7 == "UND" && $8 != "" { print $8 }' | LC_ALL=C sort -u >"$out/undefined.txt"
if ! diff <(LC_ALL=C sort "$here/allowed-symbols.txt") "$out/undefined.txt"; then
    echo "no-std: the undefined symbols differ from tests/no-std/allowed-symbols.txt (< allowed, > needed)" >&2
    exit 1
fi

"$fuse" module compile "$here/module.wat" -o "$out/native.fuse" >/dev/null
"$fuse" module compile "$here/module.wat" -o "$out/pulley.fuse" --target pulley64 >/dev/null
cc -Os -Wall -Wextra -Wl,--gc-sections -o "$out/program" "$here/main.c" "$archive" -lm
strip -o "$out/program.stripped" "$out/program"
echo "no-std: undefined symbols: $(tr '\n' ' ' <"$out/undefined.txt")"
echo "no-std: linked and stripped program: $(stat -c %s "$out/program.stripped") bytes"
"$out/program" "$out/native.fuse"
"$out/program" "$out/pulley.fuse"

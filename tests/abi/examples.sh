#!/usr/bin/env bash
# Builds the camera examples in C and C++ with the library that was just built, and compares what they did with what the
# ones in Rust do.
# usage: examples.sh LIBRARIES   (the folder with libfuse.so)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libraries=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ln -s "$libraries/libfuse.so" "$out/libfuse-runtime.so.1"
for example in camera_compress camera_filter_compress; do
    for language in c cpp; do
        make -s -C "$here/../../examples/$example/$language" test OUT="$out/$example/$language" \
            FUSE_CFLAGS="-I$here/../../include" FUSE_LIBS="-L$libraries -lfuse -Wl,-rpath,$out" >"$out/log" || { cat "$out/log"; exit 1; }
        echo "examples: $example in $language: as in Rust"
    done
done

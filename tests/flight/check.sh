#!/usr/bin/env bash
# The flight library: what it needs from outside, what it exports, how large a program with it is, and what it promises
# about memory, from C.
# Requirements ARENA-7 and ARENA-8, and those that the programs in C name.
# usage: check.sh FUSE   (the `fuse` program, which compiles the modules)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
fuse=$(realpath "$1")
out=${CARGO_TARGET_DIR:-$root/target}/flight-check
mkdir -p "$out/modules"

"$root/fuse-ffi/flight/build.sh" "$out"
archive=$out/libfuse-flight.a

# compare NAME FOUND: what was found is what is committed under that name.
compare() {
    diff <(grep -v '^#' "$here/$1") "$2" || {
        echo "flight: $2 differs from tests/flight/$1 (< committed, > found)" >&2
        exit 1
    }
}

# Every export, and what they reach, linked into one object: what is undefined there is what the host must give.
nm --defined-only "$archive" 2>/dev/null | awk '$2 == "T" && $3 ~ /^fuse_/ && $3 !~ /^fuse_ffi_/ { print $3 }' | LC_ALL=C sort -u >"$out/exports.txt"
compare exports.txt "$out/exports.txt"
printf '{ global: fuse_*; local: *; };' >"$out/exports.map"
mapfile -t wanted < <(sed 's/^/-Wl,-u,/' "$out/exports.txt")
cc -shared -nostdlib -Wl,--gc-sections,--version-script="$out/exports.map" "${wanted[@]}" \
    -o "$out/all.so" "$archive"
readelf --dyn-syms --wide "$out/all.so" | awk '$7 == "UND" && $8 != "" { print $8 }' | LC_ALL=C sort -u >"$out/undefined.txt"
compare undefined.txt "$out/undefined.txt"
echo "flight: $(wc -l <"$out/exports.txt") exports; needs from outside: $(tr '\n' ' ' <"$out/undefined.txt")"
dependencies=$(sed -n '/^\[dependencies\]/,/^\[/p' "$root/fuse-ffi/flight/Cargo.toml" | grep -c '^[a-z].* = ')
[ "$dependencies" -lt 10 ] || { echo "flight: $dependencies direct dependencies; fewer than 10 are allowed" >&2; exit 1; }

# Its header: each standard, C++ too, twice, with no C library. Sizes and places of fields are what they were.
for standard in c99 c11 c17; do
    cc -std=$standard -ffreestanding -nostdlib -Wall -Wextra -Wpedantic -Werror -I "$root/include" -c -o "$out/header.o" "$here/header.c"
done
for standard in c++11 c++17 c++20; do
    c++ -x c++ -std=$standard -Wall -Wextra -Wpedantic -Werror -I "$root/include" -c -o "$out/header.o" "$here/header.c"
done

# Installed, and found by a new user: by pkg-config and by CMake. The full library stands aside here.
rm -rf "$out/package"
mkdir -p "$out/package/libraries"
# The flight target needs nothing of the full library, which is empty here.
cc -x c -c -o "$out/package/empty.o" /dev/null
cc -shared -o "$out/package/libraries/libfuse.so" "$out/package/empty.o"
ar rc "$out/package/libraries/libfuse.a" "$out/package/empty.o"
cp "$archive" "$out/package/libraries/"
"$root/fuse-ffi/install.sh" "$out/package/libraries" "" "$out/package/prefix"
cp "$here/package/CMakeLists.txt" "$here/misuse.c" "$here/flight.h" "$out/package/"
cmake -S "$out/package" -B "$out/package/build" -DCMAKE_PREFIX_PATH="$out/package/prefix" -Wno-dev >"$out/cmake.log" || { cat "$out/cmake.log" >&2; exit 1; }
cmake --build "$out/package/build" >"$out/cmake.log" 2>&1 || { cat "$out/cmake.log" >&2; exit 1; }
"$out/package/build/misuse" 2>/dev/null | sed 's/^flight: /flight: CMake: /'
read -ra found < <(PKG_CONFIG_PATH=$out/package/prefix/lib/pkgconfig pkg-config --cflags --libs fuse-flight)
cc -std=gnu11 -o "$out/package/misuse" "$here/misuse.c" "${found[@]}" -Wl,--gc-sections
"$out/package/misuse" 2>/dev/null | sed 's/^flight: /flight: pkg-config: /'

# FreeRTOS: the port, on the kernel's simulator for Linux.
make --silent --no-print-directory -C "$root/examples/freertos" FLIGHT="$out" FUSE="$fuse" OUT="$out/freertos" "$out/freertos/freertos"
for module in "$root"/examples/superloop/modules/*.wat; do
    "$fuse" module compile "$module" --no-portable -o "$out/freertos/$(basename "$module" .wat).fuse" >/dev/null
done
(cd "$out/freertos" && timeout 60 ./freertos) | sed 's/^/flight: FreeRTOS: /'

# The superloop: linked and stripped at most half a megabyte.
make --silent --no-print-directory -C "$root/examples/superloop" FLIGHT="$out" FUSE="$fuse" OUT="$out/superloop" run >"$out/superloop.txt"
diff "$root/examples/superloop/expected.txt" <(grep -vE '^(memory|arena)' "$out/superloop.txt")
size=$(stat -c %s "$out/superloop/superloop")
[ "$size" -le 500000 ] || { echo "flight: the superloop has $size bytes; 500000 are allowed" >&2; exit 1; }
echo "flight: superloop: $size bytes linked and stripped; $(grep 'most used' "$out/superloop.txt")"

# What it promises about memory.
python3 "$here/modules/wide.wat.py" >"$out/modules/wide.wat"
for module in "$here"/modules/*.wat "$out/modules/wide.wat"; do
    "$fuse" module compile "$module" --no-portable -o "$out/modules/$(basename "$module" .wat).fuse" >/dev/null
done
cp "$here/modules/app_config.json" "$out/modules/"
"$fuse" module pack "$out/modules/app_config.json" --with-artifacts -o "$out/modules/app.bin" >/dev/null
for test in misuse steps stack memory app oom; do
    cc -std=gnu11 -O1 -g -Wall -Wextra -Werror -I "$root/include" -o "$out/$test" "$here/$test.c" "$archive" -Wl,--gc-sections
    case $test in
    oom) ;;
    *) "$out/$test" "$out/modules" 2>"$out/$test.err" || { cat "$out/$test.err" >&2; exit 1; } ;;
    esac
done
"$out/oom" "$out/modules" >"$out/oom.txt" 2>"$out/oom.err" || { cat "$out/oom.err" >&2; exit 1; }
grep '^panic in' "$out/oom.txt" | sed 's/(.*//' | LC_ALL=C sort | uniq -c | awk '{ print $1, $4 }' >"$out/panics.txt" || true
compare panics.txt "$out/panics.txt"
grep '^flight:' "$out/oom.txt"

# The interpreter, where no memory can be made executable.
"$root/fuse-ffi/flight/build.sh" "$out/pulley" --features pulley
mkdir -p "$out/pulley/modules"
for module in "$here"/modules/*.wat; do
    "$fuse" module compile "$module" --no-portable --target pulley64 -o "$out/pulley/modules/$(basename "$module" .wat).fuse" >/dev/null
done
cc -std=gnu11 -O1 -g -I "$root/include" -o "$out/pulley/steps" "$here/steps.c" "$out/pulley/libfuse-flight.a" -Wl,--gc-sections
"$out/pulley/steps" "$out/pulley/modules" interpreter

# The scenarios, natively and interpreted.
FUSE_FLIGHT_LIBRARIES=$out cargo test --quiet --workspace --test flight_scenarios

# Its own workspace, so its own lints and licences.
cargo clippy --quiet --locked --manifest-path "$root/fuse-ffi/flight/Cargo.toml" --target-dir "$out/clippy" -- -D warnings
cargo fmt --check --manifest-path "$root/fuse-ffi/flight/Cargo.toml"

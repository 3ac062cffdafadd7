#!/usr/bin/env bash
# Installs libfuse: libraries, headers, pkg-config files and the CMake package.
# usage: install.sh LIBRARIES DESTDIR PREFIX
#   LIBRARIES  the folder with libfuse.so and libfuse.a
#   DESTDIR    put in front of PREFIX where files are written, and nowhere else; may be empty
set -euo pipefail
libraries=$1 destdir=$2 prefix=$3
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../Cargo.toml" | head -1)
major=$(sed -n 's/^pub const FUSE_ABI_MAJOR: u32 = \(.*\);$/\1/p' "$here/src/version.rs")
lib=$destdir$prefix/lib
private=$lib/fuse-runtime
include=$destdir$prefix/include/fuse-runtime

# The filesystem library has the names libfuse.so and fuse.h too: ours stay in folders of their own.
install -D -m 755 "$libraries/libfuse.so" "$private/libfuse-runtime.so.$major.$version"
ln -sf "libfuse-runtime.so.$major.$version" "$private/libfuse-runtime.so.$major"
ln -sf "libfuse-runtime.so.$major" "$private/libfuse.so"
install -D -m 644 "$libraries/libfuse.a" "$private/libfuse.a"
# Debug information is four fifths of them; who debugs Fuse itself links what the build made.
strip --strip-debug "$private/libfuse-runtime.so.$major.$version" "$private/libfuse.a"
install -D -m 644 "$here/../include/fuse.h" "$include/fuse.h"
for header in fuse.hpp fuse_orchestrator.hpp; do
    install -m 644 "$here/../include/$header" "$include/$header"
done
if [ -f "$libraries/libfuse-flight.a" ]; then
    install -D -m 644 "$libraries/libfuse-flight.a" "$private/libfuse-flight.a"
    install -D -m 644 "$here/../include/fuse_flight.h" "$include/fuse_flight.h"
fi

fill() {
    mkdir -p "$(dirname "$2")"
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" "$1" >"$2"
    chmod 644 "$2"
}
fill "$here/package/fuse-runtime.pc.in" "$lib/pkgconfig/fuse-runtime.pc"
fill "$here/package/fuse-runtime-static.pc.in" "$lib/pkgconfig/fuse-runtime-static.pc"
if [ -f "$libraries/libfuse-flight.a" ]; then
    fill "$here/package/fuse-flight.pc.in" "$lib/pkgconfig/fuse-flight.pc"
fi
fill "$here/package/fuse-config.cmake.in" "$lib/cmake/fuse/fuse-config.cmake"
fill "$here/package/fuse-config-version.cmake.in" "$lib/cmake/fuse/fuse-config-version.cmake"

#!/usr/bin/env bash
# Installs the library into an empty place and uses it as a new user would, on a machine that has the filesystem libraries
# libfuse and libfuse3 as well.
# usage: check.sh LIBRARIES   (the folder with libfuse.so and libfuse.a)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libraries=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
prefix=$root/prefix

# Debug information makes the static library several times as large.
mkdir "$root/libraries"
cp "$libraries/libfuse.so" "$root/libraries/"
cp "$libraries/libfuse.a" "$root/libraries/"
strip --strip-debug "$root/libraries/libfuse.a" "$root/libraries/libfuse.so"
"$here/../../../fuse-ffi/install.sh" "$root/libraries" "" "$prefix"
"$here/../../../fuse-ffi/install.sh" "$root/libraries" "$root/staged" /opt/fuse
if grep -rq "$root" "$root/staged/opt/fuse/lib/pkgconfig" "$root/staged/opt/fuse/lib/cmake"; then
    echo "package: DESTDIR got into an installed file" >&2
    exit 1
fi
soname=$(readelf -d "$prefix/lib/fuse-runtime/libfuse.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = libfuse-runtime.so.1 ] || { echo "package: the SONAME is $soname" >&2; exit 1; }
for taken in "$prefix"/lib/libfuse.so* "$prefix"/include/fuse.h; do
    [ ! -e "$taken" ] || { echo "package: $taken would shadow the filesystem library" >&2; exit 1; }
done

mkdir "$root/cmake" "$root/make"
cp "$here/cmake/CMakeLists.txt" "$here"/hello.* "$root/cmake"
cmake -S "$root/cmake" -B "$root/cmake/build" -DCMAKE_PREFIX_PATH="$prefix" -Wno-dev >"$root/cmake.log" || { cat "$root/cmake.log"; exit 1; }
cmake --build "$root/cmake/build" >"$root/cmake.log" 2>&1 || { cat "$root/cmake.log"; exit 1; }
cp "$here/make/Makefile" "$here"/hello.* "$root/make"
PKG_CONFIG_PATH=$prefix/lib/pkgconfig make -s -C "$root/make"
for way in cmake/build make; do
    for program in hello_c hello_cpp hello_static; do
        echo "package: $way/$program: $(env -u LD_LIBRARY_PATH "$root/$way/$program")"
    done
    needed() { readelf -d "$root/$way/$1" | grep -c 'NEEDED.*libfuse' || true; }
    if [ "$(needed hello_c) $(needed hello_static)" != "1 0" ]; then
        echo "package: $way links the wrong library" >&2
        exit 1
    fi
done

# A program of the other kind is built as if ours were not there, and runs with its own library.
for other in fuse fuse3; do
    version=$([ $other = fuse ] && echo 26 || echo 35)
    # shellcheck disable=SC2046
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig cc -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION="$version" -o "$root/$other" "$here/other/filesystem.c" \
        $(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs "$other")
    echo "package: $other: $("$root/$other")"
done

# None of our functions has the name of one of theirs, so that a process can have all of them.
names() { nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u; }
for theirs in /usr/lib/*/libfuse.so.2 /usr/lib/*/libfuse3.so.3 /lib/*/libfuse.so.2 /lib/*/libfuse3.so.3; do
    [ -e "$theirs" ] || continue
    both=$(comm -12 <(names "$prefix/lib/fuse-runtime/libfuse.so") <(names "$theirs"))
    [ -z "$both" ] || { echo "package: $theirs has these functions as well: $both" >&2; exit 1; }
done
echo "package: installed, found by CMake and pkg-config, linked both ways, beside the filesystem libraries"

#!/usr/bin/env bash
# Installs the load generator of the server's benchmark, and prints its path. oha sends at a given rate whatever the
# answers do, and counts a request from when it was due. (Its features: it does not build without TLS.) usage: tests/load-generator.sh
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${FUSE_TOOLS:-$PWD/target/tools}
version=1.16.0

if ! "$tools/bin/oha" --version 2>/dev/null | grep -qxF "oha $version"; then
    echo "bench: building oha $version into $tools" >&2
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --version "$version" --root "$tools" oha >&2
fi
echo "$tools/bin/oha"

#!/usr/bin/env bash
# Prints the folder of the FreeRTOS kernel's sources, fetching them first where they are not there yet.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
found=$(cargo metadata --quiet --locked --format-version 1 --manifest-path "$here/kernel/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/freertos-next-[^"]*/Cargo.toml"' | head -1 | cut -d'"' -f4)
echo "$(dirname "$found")/FreeRTOS-Kernel"

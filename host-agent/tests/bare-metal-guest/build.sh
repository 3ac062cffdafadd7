#!/usr/bin/env bash
# Builds the bare-metal guest: an ELF file that Firecracker boots as a kernel. usage: build.sh OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
"$cc" -std=c11 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -ffreestanding -fno-stack-protector -fno-pic -no-pie \
    -mgeneral-regs-only -mno-red-zone -fno-builtin -fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static \
    -Wl,--no-warn-rwx-segments,-Ttext=0x100000,--build-id=none,-N,-z,noexecstack,-e,_start \
    -o "$1" "$here"/guest.c "$here"/protocol.c "$here"/json.c "$here"/vsock.c "$here"/machine.c

# shellcheck shell=bash
# Sourced: real VMs for the tests of C, Python and Node, and what the examples told.

# prepare_vms FUSE FOLDER: makes FOLDER with the image `default` out of the guest in FUSE_TEST_GUEST and sets FUSE_TEST_VMS to
# it. Where there can be no VMs it says why; FUSE_TEST_STRICT=1 makes that an error.
prepare_vms() {
    local program=$1 folder=$2 guest=${FUSE_TEST_GUEST:-target/guest} why=
    unset FUSE_TEST_VMS
    if [ ! -x "$program" ]; then
        why="$program is not built"
    elif ! command -v qemu-system-x86_64 >/dev/null; then
        why="qemu-system-x86_64 is not installed"
    elif [ ! -e "$guest/vmlinux" ]; then
        why="$guest has no vmlinux"
    fi
    if [ -n "$why" ]; then
        echo "real VMs: skipped: $why" >&2
        [ -z "${FUSE_TEST_STRICT:-}" ]
        return
    fi
    rm -rf "$folder"
    "$program" image import --data "$folder" --name default --kernel "$guest/vmlinux" --initrd "$guest/initramfs.cpio" >/dev/null
    export FUSE_TEST_VMS=$folder
}

# story FILE: keeps what the sandbox says, on its way: what runs the environments, what the commands said, and then the
# events. What each run makes up (names of forks, numbers of a counter) is taken out.
story() {
    sed -E 's/(fork|snap)-[0-9a-f]+/\1/; s/^(    fuse-(demo|fork))-[^ ]+/\1/; /count/s/[0-9]+/N/g; s/^(host default: (real VMs|the STUB)).*/\1/' >"$1.all"
    { grep -E '^(    |host default)' "$1.all"; grep -E '^  event' "$1.all"; } >"$1"
}

#!/usr/bin/env bash
# Server and host agent are replaced by those of another build under a VM that runs, and then the other way round: the VM goes on,
# with its memory, and both builds work with what the other one left. docs/upgrade.md promises it.
# usage: tests/upgrade.sh [FOLDER [OTHER]], after tests/setup.sh test
# Each folder has the programs fuse and fuse-host-agent. FOLDER: those of the build here. OTHER: the same with another version
# number, or those of a release. FUSE_TEST_GUEST: kernel and initramfs of the guest.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CARGO_TARGET_DIR:-target}/debug
old=${1:-$build} other=${2:-}
guest=${FUSE_TEST_GUEST:-target/guest}
work=$(mktemp -d)
server='' agent=''

say() { echo "upgrade: $*"; }
fail() {
    say "$*" >&2
    tail -n 30 "$work"/*.log >&2 || true
    exit 1
}

for need in qemu-system-x86_64 mke2fs busybox "$guest/vmlinux"; do
    command -v "$need" >/dev/null || [ -e "$need" ] || {
        [ -z "${FUSE_TEST_STRICT:-}" ] || fail "$need is not there"
        say "skipped: $need is not there"
        exit 0
    }
done

# end PROCESS: tells it to end, and sees that it did well.
end() {
    kill "$1"
    wait "$1" || fail "it ended with $?"
}
# The VMMs, whoever started them.
vmm_pids() { grep -sho '"pid": *[0-9]*' "$work"/host/vms/*/vm.json | grep -o '[0-9]*$'; }
tidy() {
    local pid
    for pid in $server $agent $(pgrep -f "qemu-system.*$work" || true) $(vmm_pids || true); do
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap tidy EXIT

if [ -z "$other" ]; then
    # The version is text in the programs. Another one of the same length makes another build of the same source, without a compiler.
    other=$work/other
    mkdir "$other"
    here=$("$old/fuse" --version | cut -d' ' -f2)
    python3 - "$here" "$other" "$old/fuse" "$old/fuse-host-agent" <<'EOF'
import os, sys
here, folder = sys.argv[1].encode(), sys.argv[2]
there = bytes(ord("9") if chr(c).isdigit() else c for c in here)
for path in sys.argv[3:]:
    with open(path, "rb") as program:
        code = program.read()
    assert here in code and here != there, f"{path} has no version {here}"
    with open(os.path.join(folder, os.path.basename(path)), "wb", opener=lambda p, f: os.open(p, f, 0o755)) as copy:
        copy.write(code.replace(here, there))
EOF
fi
version() { "$1/fuse" --version | cut -d' ' -f2; }
[ "$(version "$old")" != "$(version "$other")" ] || fail "both builds are version $(version "$old")"

# Where they listen stays the same.
read -r agent_port server_port < <(python3 -c 'import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)); b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
token() { head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
FC_AGENT_TOKEN=$(token)
ORCH_AUTH_TOKEN=$(token)
export FC_AGENT_TOKEN ORCH_AUTH_TOKEN FIRECRACKER_TOKEN=$FC_AGENT_TOKEN FIRECRACKER_BASE_URL=http://127.0.0.1:$agent_port
export FUSE_TOKEN=$ORCH_AUTH_TOKEN FUSE_URL=http://127.0.0.1:$server_port FUSE_DATA_DIR=$work/state FUSE_HOST_DATA=$work/host

cat >"$work/agent.toml" <<EOF
data = "$work/host"
default_memory_mib = 128
boot_seconds = 300
[driver]
kind = "qemu"
program = "qemu-system-x86_64"
[network]
mode = "user"
EOF

# start_agent FOLDER, start_server FOLDER: as it is started, waits until it answers as that version.
start_agent() {
    "$1/fuse-host-agent" --config "$work/agent.toml" --listen "127.0.0.1:$agent_port" 2>>"$work/agent.log" &
    agent=$!
    until curl -fsS -o /dev/null -H "Authorization: Bearer $FC_AGENT_TOKEN" "$FIRECRACKER_BASE_URL/healthz" 2>/dev/null; do
        kill -0 "$agent" 2>/dev/null || fail "the agent ended"
        sleep 0.1
    done
    curl -fsS -H "Authorization: Bearer $FC_AGENT_TOKEN" "$FIRECRACKER_BASE_URL/v1/capacity" | grep -q "\"version\":\"$(version "$1")\"" ||
        fail "another agent answers"
}
start_server() {
    "$1/fuse" serve --listen "127.0.0.1:$server_port" --reconcile-period 500ms 2>>"$work/server.log" &
    server=$!
    until curl -fsS -o /dev/null "$FUSE_URL/health" 2>/dev/null; do
        kill -0 "$server" 2>/dev/null || fail "the server ended"
        sleep 0.1
    done
    curl -fsS "$FUSE_URL/v1/version" | grep -q "\"version\":\"$(version "$1")\"" || fail "another server answers"
}

# in_guest ID LINE: once its host was seen again.
in_guest() {
    local try
    for try in $(seq 100); do
        "$old/fuse" environment exec "$1" --shell "$2" 2>"$work/exec.err" && return
        sleep 0.2
    done
    fail "after $try tries: $(cat "$work/exec.err")"
}
mkdir "$work/root" "$work/root"/{bin,sbin,etc,tmp,root,dev,proc,sys,run,usr}
cp "$(command -v busybox)" "$work/root/bin/busybox"
for name in $("$work/root/bin/busybox" --list | grep -vx busybox); do ln -s busybox "$work/root/bin/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$work/root/etc/passwd"
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -d "$work/root" -L root "$work/rootfs" 48M
rm "$work/root/bin/busybox"
"$old/fuse" image import --name default --kernel "$guest/vmlinux" --initrd "$guest/initramfs.cpio" --rootfs "$work/rootfs" \
    --kernel-args root=/dev/vda >/dev/null

start_agent "$old"
start_server "$old"
say "a VM on version $(version "$old")"
"$old/fuse" environment create --task-id before --cpus 1 --ram-mb 128 >/dev/null
# A process in the guest that counts in its memory. The guest's shell expands what is quoted here.
# shellcheck disable=SC2016
in_guest fuse-before 'echo "n=0; while :; do n=\$((n+1)); echo \$n >/tmp/n; sleep 0.2; done" >/tmp/count
    setsid sh /tmp/count </dev/null >/dev/null 2>&1 & echo $! >/tmp/pid; cat /proc/sys/kernel/random/boot_id' >"$work/boot"
vmm() { python3 -c 'import glob, json; print([json.load(open(f))["process"] for f in sorted(glob.glob("'"$work"'/host/vms/*/vm.json"))])'; }
vmm_before=$(vmm)
counted=0
# goes_on WHEN: the same VMM, the same boot, the same process, which has counted on.
goes_on() {
    local now
    [ "$(vmm)" = "$vmm_before" ] || fail "$1: another VMM runs: $(vmm) instead of $vmm_before"
    in_guest fuse-before 'cat /proc/sys/kernel/random/boot_id' | cmp -s - "$work/boot" || fail "$1: it was booted again"
    # shellcheck disable=SC2016
    in_guest fuse-before 'kill -0 $(cat /tmp/pid)'
    now=$(in_guest fuse-before 'cat /tmp/n')
    [ "$now" -gt "$counted" ] || fail "$1: the count was $counted and is $now"
    counted=$now
    "$old/fuse" environment get fuse-before -o json >"$work/seen"
    grep -q '"state": "running"' "$work/seen" || fail "$1: $(cat "$work/seen")"
    say "$1: it goes on, at $now"
}
goes_on "before"

# With a copy of the state, as docs/upgrade.md has it.
end "$server"
"$old/fuse" state export "$work/backup.jsonl" >/dev/null
start_server "$other"
goes_on "new server, old agent"
end "$agent"
start_agent "$other"
goes_on "new server, new agent"

# What the new version makes, the old one works with.
"$other/fuse" environment fork fuse-before >"$work/fork"
fork=$("$other/fuse" environment list -o json | grep -o '"id": "fuse-fork-[^"]*"' | cut -d'"' -f4)
[ "$(in_guest "$fork" 'cat /tmp/count | wc -l')" = 1 ] || fail "the fork lacks the disk"
vmm_before=$(vmm)

# And back, the other part first, both away at once.
end "$agent"
end "$server"
for pid in $(vmm_pids); do
    kill -0 "$pid" || fail "the VMs ended with their agent"
done
start_agent "$old"
start_server "$other"
goes_on "new server, old agent again"
end "$server"
start_server "$old"
goes_on "old server, old agent"
in_guest "$fork" true

"$old/fuse" environment destroy fuse-before "$fork" --yes >/dev/null
[ "$(vmm)" = "[]" ] || fail "VMs are left: $(vmm)"
end "$server"
server=
"$old/fuse" state verify >/dev/null
end "$agent"
agent=
say "from $(version "$old") to $(version "$other") and back"

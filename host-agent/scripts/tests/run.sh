#!/usr/bin/env bash
# Runs each script of the host agent twice in a root of its own, and sees that the second time changes nothing.
#
# usage: run.sh [WORK-DIRECTORY]
# The work directory (default: target/host-scripts) keeps the mirror and the root, which take minutes to make.
# FUSE_TEST_AGENT, FUSE_TEST_FUSE   the programs fuse-host-agent and fuse; without them, stand-ins answer for them
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scripts=$(dirname "$here")
# shellcheck source=host-agent/scripts/lib.sh
source "$scripts/lib.sh"

target=${CARGO_TARGET_DIR:-$scripts/../../target}
work=${1:-$target/host-scripts}
mkdir -p "$work"
work=$(cd "$work" && pwd)
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" != 0 ]; then
    say "skipped: a root of its own needs root"
    exit 0
fi
fused=${FUSE_TEST_FUSED:-$("$scripts/build-fused.sh")}

# --- the mirror, which is also the root for bootstrap: with the packages that a host needs
mkdir -p "$work/programs"
for program in firecracker jailer; do
    printf '#!/bin/sh\necho %s\n' "$program" >"$work/programs/$program"
done
FC_ROOTFS_PACKAGES=$("$scripts/fc-deps.sh" --list | paste -sd,),procps \
    "$scripts/fc-mirror.sh" --firecracker-from "$work/programs" "$work/mirror"

# --- a root: scripts, programs and the mirror inside
root=$work/root
[ ! -d "$root" ] || rm -rf "$root"
mkdir "$root"
tar -xpf "$work/mirror/rootfs/base-$FUSE_SUITE-$(architecture).tar" -C "$root" --numeric-owner
mkdir -p "$root/opt/fuse/host-agent" "$root/srv/mirror" "$root/usr/local/bin" "$root/usr/local/sbin"
cp -r "$scripts" "$scripts/../systemd" "$root/opt/fuse/host-agent/"
install -m 755 "$here/systemctl" "$root/usr/local/sbin/systemctl"
install -m 755 "$fused" "$root/usr/local/bin/fused"
install -m 755 "${FUSE_TEST_AGENT:-$here/stand-in.py}" "$root/usr/local/bin/fuse-host-agent"
install -m 755 "${FUSE_TEST_FUSE:-$here/stand-in.py}" "$root/usr/local/bin/fuse"
# The agent asks its VMM for its version before it starts.
printf '#!/bin/sh\necho QEMU emulator version 10.0.2\n' >"$root/usr/local/bin/qemu-system-$(machine)"
chmod 755 "$root/usr/local/bin/qemu-system-$(machine)"
cat >"$root/inside.sh" <<'INSIDE'
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export FUSE_MIRROR=/srv/mirror STAND_IN_STATE=/run/stand-in FC_ROOTFS_SIZE=1G
ip link set lo up
cd /opt/fuse/host-agent/scripts
fail() { printf 'FAILED: %s\n' "$*" >&2; cat /run/stand-in/*.log >&2 2>/dev/null || true; exit 1; }

# Everything that a script may change, but for what a service that runs writes by itself: the orchestrator its state.
tree() {
    find /etc /usr/local /var/lib -path /var/lib/fuse-orchestrator/state -prune -o -printf '%p %y %m %s %T@ %l\n' | LC_ALL=C sort
}

# twice NAME COMMAND…: the second run says and changes nothing new.
twice() {
    local name=$1
    shift
    "$@" >/tmp/first 2>&1 || { cat /tmp/first >&2; fail "$name"; }
    tree >/tmp/before
    "$@" >/tmp/second 2>&1 || { cat /tmp/second >&2; fail "$name, the second time"; }
    tree >/tmp/after
    diff /tmp/before /tmp/after >&2 || fail "$name changed something the second time"
    printf 'ok: %s\n' "$name"
}

twice fc-deps ./fc-deps.sh
twice fc-install ./fc-install.sh --fused /usr/local/bin/fused
[ -x /usr/local/bin/firecracker ] && [ -s /var/lib/fuse-host-agent/build/boot/vmlinux ] || fail "fc-install left something out"
twice fc-bake-rootfs ./fc-bake-rootfs.sh --fused /usr/local/bin/fused
debugfs -R 'stat /usr/local/bin/fused' /var/lib/fuse-host-agent/build/rootfs-default.ext4 >/tmp/out 2>/dev/null
grep -q 'Mode:  0755' /tmp/out ||
    fail "the root file system has no guest agent"

# Images made by the program that carries the scripts, from the mirror alone. A second time makes no file anew.
if fuse --version 2>/dev/null | grep -q '^fuse '; then
    images() {
        fuse image build --name small --minimal --fused /usr/local/bin/fused
        fuse image build --name whole --size 1G --fused /usr/local/bin/fused
        find /var/lib -type f -printf '%p %i %s %T@\n' | LC_ALL=C sort >"/tmp/images-$1"
    }
    images first >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "fuse image build"; }
    images second >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "fuse image build, the second time"; }
    diff /tmp/images-first /tmp/images-second >&2 || fail "fuse image build made something anew"
    fuse image list | grep -q whole || fail "the image is not listed"
    fuse image remove small && fuse image remove whole
    printf 'ok: fuse image build\n'
fi

# Damage is seen and mended, not taken.
echo x >>/var/lib/fuse-host-agent/build/boot/initramfs.cpio
./fc-install.sh --fused /usr/local/bin/fused >/tmp/out 2>&1
grep -q 'initramfs made' /tmp/out || fail "a damaged initramfs was taken"
(cd /var/lib/fuse-host-agent/build/boot && sha256sum --quiet -c SHA256SUMS) || fail "it was not mended"
cp -r /srv/mirror/firecracker /tmp/good
mount -t tmpfs none /srv/mirror/firecracker
cp /tmp/good/* /srv/mirror/firecracker/
echo x >>/srv/mirror/firecracker/*.tgz
rm /var/lib/fuse-host-agent/build/firecracker.sha256
if ./fc-install.sh --fused /usr/local/bin/fused >/tmp/out 2>&1; then fail "a Firecracker with another checksum was installed"; fi
grep -q checksum /tmp/out || fail "it was refused without a reason: $(cat /tmp/out)"
umount /srv/mirror/firecracker

# The agent in the background.
./fc-agent.sh start >/tmp/env
grep -q '^FIRECRACKER_BASE_URL=http://127.0.0.1:8090$' /tmp/env && grep -qE '^FIRECRACKER_TOKEN=[0-9a-f]{64}$' /tmp/env ||
    fail "start does not say how the agent is reached: $(cat /tmp/env)"
[ "$(stat -c %a /etc/default/fuse-host-agent)" = 600 ] || fail "others can read the token"
if grep -l "$(sed -n 's/^FIRECRACKER_TOKEN=//p' /tmp/env)" /proc/[0-9]*/cmdline 2>/dev/null; then fail "the token is on a command line"; fi
twice "fc-agent start" ./fc-agent.sh start
./fc-agent.sh status >/tmp/out && grep -q running /tmp/out || fail status
./fc-agent.sh env | cmp - /tmp/env || fail env
./fc-agent.sh restart | cmp - /tmp/env || fail restart
twice "fc-agent stop" ./fc-agent.sh stop
if ./fc-agent.sh status; then fail "stopped is not running"; fi

# The services.
twice "fc-agent install-service" ./fc-agent.sh install-service
twice "fc-agent install-orchestrator" ./fc-agent.sh install-orchestrator
twice "fc-agent uninstall-orchestrator" ./fc-agent.sh uninstall-orchestrator
twice "fc-agent uninstall-service" ./fc-agent.sh uninstall-service
[ -s /etc/default/orchestrator ] || fail "uninstalling took the settings along"

# From the start, with settings that were lost. State that nobody can open is not thrown away.
rm -f /etc/default/fuse-host-agent /etc/default/orchestrator /etc/fuse/host-agent.toml
if [ -e /var/lib/fuse-orchestrator/state ]; then
    if ./fc-agent.sh bootstrap >/tmp/out 2>&1; then fail "bootstrap went over the state of a lost key"; fi
    grep -q 'is sealed with a key that' /tmp/out || fail "it was refused without a reason: $(tail -3 /tmp/out)"
    rm -r /var/lib/fuse-orchestrator/state
fi
twice bootstrap ./fc-agent.sh bootstrap
cat /tmp/first
# The orchestrator may know the agent of its own machine already, from its settings.
grep -qE 'this host is registered (as local-fc|already)' /tmp/first || fail "bootstrap registered no host"
token=$(sed -n 's/^ORCH_AUTH_TOKEN=//p' /etc/default/orchestrator)
curl -fsS -H "Authorization: Bearer $token" http://127.0.0.1:8080/v1/hosts >/tmp/hosts
grep -q 'http://127.0.0.1:8090' /tmp/hosts || fail "the orchestrator does not know this host: $(cat /tmp/hosts)"
if grep -q '"liveness"' /tmp/hosts; then
    # The program itself, not its stand-in: it has asked the agent, which answered.
    grep -q '"state":"ready"' /tmp/hosts || fail "the host does not answer: $(cat /tmp/hosts)"
    FUSE_URL=http://127.0.0.1:8080 FUSE_TOKEN=$token fuse host list
fi
grep -q 'registered already' /tmp/second || fail "bootstrap registered it again"
for name in fuse-host-agent.service orchestrator.service; do systemctl is-active --quiet "$name" || fail "$name does not run"; done
INSIDE

# --- inside: no network, processes of its own, the mirror from outside
started=$SECONDS
# shellcheck disable=SC2016 # The inner shell has the directory as its argument.
unshare --net --pid --fork --mount --kill-child bash -euc '
    mount --bind "$1/mirror" "$1/root/srv/mirror"
    mount -t proc proc "$1/root/proc"
    mount --bind /dev "$1/root/dev"
    mount -t tmpfs tmpfs "$1/root/run"
    exec chroot "$1/root" bash /inside.sh' bash "$work" || fail "inside the root"
rm -rf "$root"
say "the scripts do what they say, and nothing the second time ($((SECONDS - started)) s)"

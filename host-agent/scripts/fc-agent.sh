#!/usr/bin/env bash
# The host agent and the orchestrator on this machine: in the background, or as systemd services.
#
# usage: fc-agent.sh COMMAND
#
#   start                     starts the host agent in the background; prints FIRECRACKER_BASE_URL and FIRECRACKER_TOKEN
#   stop | restart | status   the same agent; VMs go on while it is away
#   log [LINES]               the end of its log
#   env                       prints FIRECRACKER_BASE_URL and FIRECRACKER_TOKEN
#   install-service           the host agent as fuse-host-agent.service, on port 8090
#   uninstall-service         takes the service away; settings, VMs, snapshots and images stay
#   install-orchestrator      `fuse serve` as orchestrator.service, on port 8080; prints FUSE_BASE_URL and FUSE_TOKEN
#   uninstall-orchestrator    takes the service away; settings and state stay
#   bootstrap [--no-register] all of it: packages, Firecracker, kernel, image, both services, and this host registered
#
# Each may be run again: what is there is left alone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

units=$here/../systemd
bin=$FUSE_ROOT/usr/local/bin
defaults=$FUSE_ROOT/etc/default
config=$FUSE_ROOT/etc/fuse/host-agent.toml
agent_defaults=$defaults/fuse-host-agent
orchestrator_defaults=$defaults/orchestrator
state=$FUSE_DATA/agent
systemctl=${FUSE_SYSTEMCTL:-systemctl}

# setting FILE NAME: the value of a setting; empty when there is none.
setting() { sed -n "s/^$2=//p" "$1" 2>/dev/null | tail -1; }

# settle FILE NAME VALUE: gives a setting that is empty a value. Values reach no command line: awk reads them from the
# environment.
settle() {
    [ -z "$(setting "$1" "$2")" ] || return 0
    NAME=$2 VALUE=$3 awk '
        index($0, ENVIRON["NAME"] "=") == 1 { print ENVIRON["NAME"] "=" ENVIRON["VALUE"]; done = 1; next }
        { print }
        END { if (!done) print ENVIRON["NAME"] "=" ENVIRON["VALUE"] }' "$1" >"$1.new"
    chmod 600 "$1.new"
    mv "$1.new" "$1"
}

agent_port() { local port; port=$(setting "$agent_defaults" FC_AGENT_PORT); echo "${port:-8090}"; }
agent_url() { echo "http://127.0.0.1:$(agent_port)"; }
orchestrator_url() {
    local listen
    listen=$(setting "$orchestrator_defaults" ORCH_LISTEN)
    echo "http://127.0.0.1:${listen##*:}"
}

# ask TOKEN URL [CURL-OPTION…]: asks with a bearer token, which goes to curl on its standard input.
ask() {
    local token=$1 url=$2
    shift 2
    printf 'header = "Authorization: Bearer %s"\n' "$token" | curl -fsS --max-time 15 --config - "$@" "$url"
}

# await WHAT URL TOKEN: waits until something answers.
await() {
    local what=$1 url=$2 token=$3 try
    for ((try = 0; try < ${FUSE_WAIT_SECONDS:-30} * 5; try++)); do
        ask "$token" "$url" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    die "$what does not answer on $url; see $what's log (fc-agent.sh log, or journalctl)"
}

# Settings and configuration of the host agent, with a token of its own.
configure_agent() {
    mkdir -p "$defaults" "$state"
    [ -f "$agent_defaults" ] || put 600 "$units/fuse-host-agent.default" "$agent_defaults" || true
    settle "$agent_defaults" FC_AGENT_TOKEN "$(secret 32)"
    [ -f "$config" ] && return 0
    local driver network why
    why=$(kvm_missing)
    if [ -z "$why" ] && [ -x "$bin/firecracker" ] && [ "$(id -u)" = 0 ]; then
        driver="driver = { kind = \"firecracker\", program = \"$bin/firecracker\", jailer = { program = \"$bin/jailer\", uid = 64000, gid = 64000, pid_namespace = true } }"
        network=$'mode = "tap"\npool = "10.200.0.0/16"\ntag = "f"'
    else
        say "the agent drives QEMU, since ${why:-there is no Firecracker in $bin, or no root}"
        driver='driver = { kind = "qemu", program = "qemu-system-'$(machine)$'" }'
        network='mode = "user"'
    fi
    sed -e "s|@DATA@|${FUSE_DATA#"$FUSE_ROOT"}|" "$units/host-agent.toml" |
        DRIVER=$driver NETWORK=$network awk '$0 == "@DRIVER@" { print ENVIRON["DRIVER"]; next } $0 == "@NETWORK@" { print ENVIRON["NETWORK"]; next } { print }' |
        put_text 644 "$config" || true
}

# The agent in the background: its process, if it runs. A process that has the number by chance is not the agent.
agent_pid() {
    local pid
    pid=$(cat "$state/pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] && grep -qz -- fuse-host-agent "/proc/$pid/cmdline" 2>/dev/null || return 1
    echo "$pid"
}

print_agent_env() {
    [ -f "$agent_defaults" ] || die "there are no settings yet; fc-agent.sh start makes them"
    echo "FIRECRACKER_BASE_URL=$(agent_url)"
    echo "FIRECRACKER_TOKEN=$(setting "$agent_defaults" FC_AGENT_TOKEN)"
}

find_program() {
    local name=$1 path
    for path in "$bin/$name" "$here/../../target/release/$name"; do
        [ ! -x "$path" ] || { echo "$path"; return; }
    done
    path=$(command -v "$name" || true)
    [ -n "$path" ] || die "$name is not there; build it (cargo build --release -p fuse-host-agent -p fuse-cli) and install it in $bin"
    echo "$path"
}

start() {
    local pid program
    configure_agent
    if pid=$(agent_pid); then
        say "the host agent runs already (process $pid)"
    else
        program=$(find_program fuse-host-agent)
        (
            set -a
            # shellcheck source=/dev/null
            source "$agent_defaults"
            exec setsid "$program" --config "$config" >>"$state/log" 2>&1 </dev/null
        ) &
        echo $! >"$state/pid"
        await "the host agent" "$(agent_url)/healthz" "$(setting "$agent_defaults" FC_AGENT_TOKEN)"
        say "the host agent runs (process $(cat "$state/pid"))"
    fi
    print_agent_env
}

stop() {
    local pid try
    if ! pid=$(agent_pid); then
        say "the host agent does not run"
        rm -f "$state/pid"
        return
    fi
    kill -TERM "$pid"
    for ((try = 0; try < 150; try++)); do
        agent_pid >/dev/null || break
        sleep 0.1
    done
    if agent_pid >/dev/null; then
        say "the host agent does not end by itself; killing it (its VMs go on)"
        kill -KILL "$pid"
    fi
    rm -f "$state/pid"
    say "the host agent was stopped; its VMs go on"
}

status() {
    local pid
    if pid=$(agent_pid); then
        echo "running (process $pid), $(agent_url)"
    else
        echo "stopped"
        return 3
    fi
}

# install_unit NAME: installs a unit and has the service run it, anew when the unit has changed.
install_unit() {
    local changed=1
    put 644 "$units/$1" "$FUSE_ROOT/etc/systemd/system/$1" || changed=
    [ -z "$changed" ] || "$systemctl" daemon-reload
    if [ -n "$changed" ] && "$systemctl" is-active --quiet "$1"; then
        "$systemctl" restart "$1"
    fi
    if ! "$systemctl" is-enabled --quiet "$1" 2>/dev/null || ! "$systemctl" is-active --quiet "$1"; then
        "$systemctl" enable --now "$1"
        say "$1: enabled and started"
    fi
}

uninstall_unit() {
    if [ -f "$FUSE_ROOT/etc/systemd/system/$1" ]; then
        "$systemctl" disable --now "$1"
        rm -f "$FUSE_ROOT/etc/systemd/system/$1"
        "$systemctl" daemon-reload
        say "$1: removed; $defaults and the data stay"
    else
        say "$1: not installed"
    fi
}

# place PROGRAM: installs a program in its place, unless it is there.
place() {
    local from
    from=$(find_program "$1")
    [ "$from" = "$bin/$1" ] || put 755 "$from" "$bin/$1" || true
}

install_service() {
    if agent_pid >/dev/null; then
        stop
    fi
    place fuse-host-agent
    configure_agent
    install_unit fuse-host-agent.service
    await "the host agent" "$(agent_url)/healthz" "$(setting "$agent_defaults" FC_AGENT_TOKEN)"
    print_agent_env
}

install_orchestrator() {
    place fuse
    mkdir -p "$defaults"
    [ -f "$orchestrator_defaults" ] || put 600 "$units/orchestrator.default" "$orchestrator_defaults" || true
    # A new key does not open what was sealed with a lost one.
    local kept
    kept=$FUSE_ROOT$(setting "$orchestrator_defaults" FUSE_DATA_DIR)/state
    if [ -z "$(setting "$orchestrator_defaults" TOKEN_ENCRYPTION_KEY)" ] && [ -e "$kept" ]; then
        die "$kept is sealed with a key that $orchestrator_defaults does not have; put it back there as TOKEN_ENCRYPTION_KEY, or move $kept away to begin anew"
    fi
    settle "$orchestrator_defaults" ORCH_AUTH_TOKEN "$(secret 32)"
    settle "$orchestrator_defaults" TOKEN_ENCRYPTION_KEY "$(secret 32)"
    if [ -f "$agent_defaults" ]; then
        settle "$orchestrator_defaults" FIRECRACKER_TOKEN "$(setting "$agent_defaults" FC_AGENT_TOKEN)"
    fi
    install_unit orchestrator.service
    await "the orchestrator" "$(orchestrator_url)/ready" ""
    echo "FUSE_BASE_URL=$(orchestrator_url)"
    echo "FUSE_TOKEN=$(setting "$orchestrator_defaults" ORCH_AUTH_TOKEN)"
}

# register: this host, unless the orchestrator has it already.
register() {
    local token hosts body
    token=$(setting "$orchestrator_defaults" ORCH_AUTH_TOKEN)
    hosts=$(ask "$token" "$(orchestrator_url)/v1/hosts")
    if grep -qF "\"$(agent_url)" <<<"$hosts"; then
        say "this host is registered already"
        return
    fi
    body=$(mktemp)
    chmod 600 "$body"
    printf '{"id":"local-fc","url":"%s","token":"%s","capacity":{"vm_count":%d}}' "$(agent_url)" \
        "$(setting "$agent_defaults" FC_AGENT_TOKEN)" $((4 * $(nproc))) >"$body"
    ask "$token" "$(orchestrator_url)/v1/hosts" -H 'Content-Type: application/json' --data-binary "@$body" >/dev/null || {
        rm -f "$body"
        die "the orchestrator did not take this host; its log says why (journalctl -u orchestrator)"
    }
    rm -f "$body"
    say "this host is registered as local-fc"
}

bootstrap() {
    local why
    "$here/fc-deps.sh"
    place fuse-host-agent
    place fuse
    local fused=()
    [ ! -x "$bin/fused" ] || fused=(--fused "$bin/fused")
    "$here/fc-install.sh" ${fused[@]+"${fused[@]}"}
    FUSE_BIN=$bin/fuse "$here/fc-bake-rootfs.sh" ${fused[@]+"${fused[@]}"}
    install_service
    install_orchestrator
    [ "${1:-}" = --no-register ] || register
    why=$(kvm_missing)
    if [ -n "$why" ]; then
        say "done. No VM was booted: $why"
    else
        say "done. Boot a VM: fuse connect $(orchestrator_url) …, then fuse environment create"
    fi
}

case ${1:-} in
start) start ;;
stop) stop ;;
restart) stop; start ;;
status) status ;;
log) tail -n "${2:-100}" "$state/log" ;;
env) print_agent_env ;;
install-service) install_service ;;
uninstall-service) uninstall_unit fuse-host-agent.service ;;
install-orchestrator) install_orchestrator ;;
uninstall-orchestrator) uninstall_unit orchestrator.service ;;
bootstrap)
    case ${2:-} in '' | --no-register | --no-updater) bootstrap "${2:-}" ;; *) die "unknown option $2" ;; esac
    ;;
*)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

"""A fleet of two machines with real VMs: environments on both, a snapshot that moves, a machine that is cut off and back.

usage: two_hosts.py FUSE FUSE-HOST-AGENT GUEST WORK-DIRECTORY

Each machine is a network namespace; `fuse serve` and both host agents are the programs themselves, and everything is asked
with the program `fuse`. GUEST is a directory with vmlinux and initramfs.cpio (host-agent/scripts/build-initramfs.sh).
Where namespaces or QEMU cannot be had it says so, and runs nothing; FUSE_TEST_STRICT=1 makes that an error.
"""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from network import Network, run
from programs import Agent, Site, until

# Seconds until it is given up, on a machine that does much beside it.
LONGEST = 900

# A process that counts in memory alone, once for each VM: where it goes on, memory went on.
COUNTER = "(setsid sh -c 'echo $$ >/run/counter.pid; i=0; while :; do i=$((i+1)); echo $i >/run/next; mv /run/next /run/counter; sleep 0.05; done' >/dev/null 2>&1 </dev/null &)"
COUNTED = "kill -0 $(cat /run/counter.pid) && cat /run/counter.pid /run/counter"


# Stands for podman: what would be a container is a process of the guest.
PODMAN = """#!/bin/sh
set -eu
[ "$1" = run ] || { echo "podman: no verb $1 here" >&2; exit 125; }
shift
name= env=/dev/null
while :; do
    case $1 in
    --name=*) name=${1#*=} ;;
    --env-file=*) env=${1#*=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
echo "$name $1" >>/run/containers
shift
set -a
. "$env"
set +a
setsid "$@" >"/run/$name.log" 2>&1 </dev/null &
"""


def why_not():
    """Why the test cannot run here; empty when it can."""
    if os.geteuid() != 0:
        return "namespaces of machines need root"
    for program in ("ip", "openssl", "qemu-system-x86_64", "qemu-img", "mke2fs", "busybox"):
        if not shutil.which(program):
            return f"{program} is not installed; tests/setup.sh test installs it"
    name = f"fuse-test-{os.getpid()}"
    tried = run("ip", "netns", "add", name, check=False)
    if tried.returncode:
        return f"no namespace can be made: {tried.stderr.strip()}"
    run("ip", "netns", "del", name)
    return ""


def root_file_systems(work):
    """A root file system with busybox alone, and one that has podman, too."""
    root = work / "root"
    for directory in ("bin", "sbin", "etc", "tmp", "root", "dev", "proc", "sys", "run", "usr/bin"):
        (root / directory).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for applet in run(str(root / "bin/busybox"), "--list").stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return [file_system(root, work / "rootfs"), with_podman(root, work / "rootfs-podman")]


def file_system(root, file):
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(file), "48M")
    return file


def with_podman(root, file):
    program = root / "usr/bin/podman"
    program.write_text(PODMAN)
    program.chmod(0o755)
    return file_system(root, file)


def machine(fuse, program, namespace, guest, file_systems, data):
    """A host with two images and its agent."""
    data.mkdir()
    kernel = ("--kernel", str(guest / "vmlinux"), "--initrd", str(guest / "initramfs.cpio"))
    for name, file in zip(("default", "podman"), file_systems):
        run(str(fuse), "image", "import", "--data", str(data), "--name", name, *kernel, "--rootfs", str(file))
    return Agent(program, namespace, data, tls=data.name == "two")


def counter(site, environment):
    """The counter's process and how far it is."""
    process, count = site.sh(environment, COUNTED).split()
    return process, int(count)


def goes_on(site, environment, before):
    """The counter of a VM is the same process, and went on since `before`."""
    process, count = until("it counts", lambda: (now := counter(site, environment))[1] > before[1] and now)
    assert process == before[0], f"another process counts: {process}, not {before[0]}"
    return process, count


def environment(site, name):
    return site.fuse("environment", "get", name)


def schedule(site, machines):
    """Both hosts answer, and each gets one of two environments."""
    two = machines["two"]
    known_by = ("--certificate", two.pin, "--max-vms", "8")
    site.fuse("host", "add", "two", two.url, *known_by, variables={"FUSE_HOST_TOKEN": two.token})
    until("both hosts are ready", lambda: all(
        site.fuse("host", "get", host)["liveness"]["state"] == "ready" for host in machines))
    assert all(site.fuse("host", "get", host)["backend"] == "qemu" for host in machines), "what an agent runs it says"
    made = [site.create("a"), site.create("b")]
    placed = {one["host_id"]: one["id"] for one in made}
    assert set(placed) == set(machines), f"they are not spread: {made}"
    for host, name in placed.items():
        assert len(machines[host].vmms()) == 1, f"{host} runs {machines[host].vmms()}"
        site.sh(name, f"{COUNTER}; echo written on {host} >/root/notes; sync; while [ ! -s /run/counter ]; do sleep 0.1; done")
        until("it counts", lambda name=name: counter(site, name)[1] > 3)
    return placed


def services(site, work):
    """The services of a manifest run where the image has podman, each after those that it depends on."""
    secret = "the-secret-of-the-service"
    manifest = {
        "version": "1",
        "machine": {"workspace": "/root"},
        "services": {
            "web": {"image": "web:1", "depends_on": ["store"], "command": ["sh", "-c", "echo $WORD >/run/word; exec sleep 1000"],
                    "env": {"WORD": {"secret": "WORD"}}},
            "store": {"image": "store:2", "command": ["sleep", "1001"]},
        },
    }
    request = {
        "manifest_inline": base64.b64encode(json.dumps(manifest).encode()).decode(),
        "secrets": {"WORD": secret},
    }
    file = work / "request.json"
    file.write_text(json.dumps(request))
    code, out, err = site.ask("environment", "create", "--task-id", "refused", "--from", file, "--ram-mb", "128")
    assert code == 1 and "no podman" in out + err, f"an image without podman: {code}: {out}{err}"
    made = site.create("services", "--from", str(file), "--image", "podman")["id"]
    assert site.sh(made, "cat /run/containers").splitlines() == ["fuse-store store:2", "fuse-web web:1"]
    until("the service has its secret", lambda: site.sh(made, "cat /run/word 2>/dev/null; true") == secret)
    running = site.sh(made, "ps")
    assert "sleep 1000" in running and "sleep 1001" in running, running
    site.fuse("environment", "destroy", made, "--yes")


def move(site, machines, source):
    """A snapshot with memory goes to the other host, and goes on there; one of the disk boots there."""
    process, before = counter(site, source)
    live = site.fuse("snapshot", "create", source, "--live", "--comment", "to move")
    disk = site.fuse("snapshot", "create", source, "--comment", "the disk alone")
    site.sh(source, "echo later >/root/notes; sync")

    moved = site.create("moved", "--seed", live["id"], "--host", "two")
    assert moved["host_id"] == "two", moved
    goes_on(site, moved["id"], (process, before))
    assert site.sh(moved["id"], "cat /root/notes") == "written on default"
    assert site.sh(source, "cat /root/notes") == "later", "the origin has its own disk"
    identity = "cat /etc/machine-id; hostname"
    assert site.sh(moved["id"], identity) != site.sh(source, identity), "the copy says it is the origin"

    booted = site.create("booted", "--seed", disk["id"], "--host", "two")
    assert booted["host_id"] == "two" and site.sh(booted["id"], "cat /root/notes") == "written on default"
    code, _, _ = site.ask("environment", "exec", booted["id"], "--shell", "test -e /run/counter")
    assert code == 1, "memory begins anew"
    assert len(machines["two"].kept("snapshots")) == 2, machines["two"].kept("snapshots")
    # And back, from the host whose certificate is pinned.
    beyond = counter(site, moved["id"])
    again = site.fuse("snapshot", "create", moved["id"], "--live")
    back = site.create("back", "--seed", again["id"], "--host", "default")
    assert back["host_id"] == "default", back
    goes_on(site, back["id"], beyond)
    for name in (moved["id"], booted["id"], back["id"]):
        site.fuse("environment", "destroy", name, "--yes")
    for name in (again["id"], disk["id"], live["id"]):
        site.fuse("snapshot", "delete", name, "--yes")
    for host in machines:
        until(f"{host} has no snapshot left", lambda host=host: not machines[host].kept("snapshots"))


def lose_and_find(site, network, machines, placed):
    """A machine is cut off: what it has is unknown, not gone. It comes back with the same processes."""
    cut, other = placed["default"], placed["two"]
    kept = site.fuse("snapshot", "create", cut)
    before, vmms = counter(site, cut), machines["default"].vmms()
    network.cut(network.hosts[0])
    missed = until("the host is missed", lambda: (host := site.fuse("host", "get", "default"))["liveness"]["state"] != "ready" and host)
    assert missed["liveness"]["reason"], missed
    unknown = until("its environment is unknown", lambda: (seen := environment(site, cut))["observed"] == "unknown" and seen)
    assert unknown["state"] == "running", unknown
    code, out, err = site.ask("environment", "exec", cut, "--timeout", "5s", "--", "true")
    said = f"exec on a host that is cut off: {code}: {out}{err}"
    assert code == 125 and "default" in out + err, said
    assert "no whole answer" not in out + err, f"nobody noticed, until the command's own time was over: {said}"
    goes_on(site, other, counter(site, other))
    # What only that machine has cannot be had now.
    code, out, err = site.ask("environment", "create", "--seed", kept["id"], "--ram-mb", "128", "--host", "two")
    assert code == 4 and "does not answer" in out + err, f"a snapshot of a host that is cut off: {code}: {out}{err}"
    new = site.create("meanwhile")
    assert new["host_id"] == "two", "a host that is cut off takes nothing new"
    assert machines["default"].vmms() == vmms, "its VMs go on without us"

    network.mend(network.hosts[0])
    until("the host is back", lambda: site.fuse("host", "get", "default")["liveness"]["state"] == "ready")
    until("its environment is seen again", lambda: environment(site, cut)["observed"] == "present")
    after = goes_on(site, cut, before)
    assert machines["default"].vmms() == vmms, "the same VMMs"
    assert site.sh(cut, "cat /root/notes") == "later"
    site.fuse("environment", "destroy", new["id"], "--yes")
    site.fuse("snapshot", "delete", kept["id"], "--yes")
    return after


def kill_and_adopt(site, machines, placed):
    """An agent is killed, the server is killed; each finds its own again."""
    name = placed["two"]
    before, vmms = counter(site, name), machines["two"].vmms()
    machines["two"].kill()
    site.server.kill()
    machines["two"].start()
    site.server.start()
    until("the server answers", lambda: site.ask("status")[0] == 0)
    until("the environment is seen again", lambda: environment(site, name)["observed"] == "present")
    goes_on(site, name, before)
    assert machines["two"].vmms() == vmms, "the same VMMs"


def destroy(site, machines, placed):
    """Nothing is left: no process, no file of a VM, no copy."""
    for name in placed.values():
        site.fuse("environment", "destroy", name, "--yes")
    for host, agent in machines.items():
        until(f"{host} is empty", lambda agent=agent: not agent.vmms() and not agent.kept("vms"))
        assert not agent.kept("snapshots") and not agent.kept("staging"), (agent.kept("snapshots"), agent.kept("staging"))
        left = [number for number in agent.namespace.processes() if number != agent.process.pid]
        assert not left, f"{host} still runs {left}"
    secrets = [site.token] + [agent.token for agent in machines.values()]
    for daemon in (site.server, *machines.values()):
        assert not any(secret in daemon.text() for secret in secrets), f"a token is in {daemon.log}"


def story(fuse, program, guest, work, network):
    began = time.monotonic()

    def done(what):
        print(f"hosts: {what} ({time.monotonic() - began:.0f} s)", flush=True)

    file_systems = root_file_systems(work)
    machines = {}
    for host, namespace in zip(("default", "two"), network.hosts):
        machines[host] = machine(fuse, program, namespace, guest, file_systems, work / host)
    site = Site(fuse, network.middle, work, machines["default"])
    placed = schedule(site, machines)
    done("two machines, an environment on each")
    services(site, work)
    done("services ran in a guest with podman, and were refused in one without")
    move(site, machines, placed["default"])
    done("a snapshot moved, with its memory and without")
    lose_and_find(site, network, machines, placed)
    done("a machine was cut off, and came back with what it had")
    kill_and_adopt(site, machines, placed)
    done("an agent and the server were killed, and found everything again")
    destroy(site, machines, placed)
    for daemon in (site.server, *machines.values()):
        daemon.stop()
    done("nothing is left")


def end_in_time():
    """Whoever ends it, and when it hangs: what was made is cleared away."""

    def end(number, _):
        sys.exit(f"hosts: ended by {signal.Signals(number).name}")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(LONGEST)


def main():
    fuse, program, guest, parent = map(pathlib.Path, sys.argv[1:5])
    why = why_not()
    if why:
        if os.environ.get("FUSE_TEST_STRICT"):
            sys.exit(f"hosts: not run: {why}")
        print(f"hosts: skipped: {why}")
        return
    end_in_time()
    parent.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="hosts-", dir=parent))
    network = Network()
    try:
        story(fuse.resolve(), program.resolve(), guest.resolve(), work, network)
    except BaseException:
        for log in sorted(work.glob("**/*log")):
            print(f"--- {log.relative_to(work)}\n{log.read_text(errors='replace')[-6000:]}", file=sys.stderr)
        raise
    finally:
        network.close()
        subprocess.run(["rm", "-rf", str(work)], check=True)


main()

"""The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events at the end.

The control plane is embedded: no server, no daemon. Its VMs are those of this machine, in this process; where QEMU or
Firecracker and an image are not installed, the stub stands in, which keeps VMs in memory and isolates nothing. The first
line says which it is, and why.

usage: sandbox.py [DIRECTORY OF THE STATE]
"""

from __future__ import annotations

import sys
import tempfile
import time

import fuse_runtime as fuse

# A guest that is interpreted, on a machine that is busy, comes up late.
SOON = 300.0

# Counts in memory alone, in a process that a snapshot takes along.
COUNTER = """echo 'made at boot' > /notes
(i=0; while :; do i=$((i + 1)); echo $i > /run/next; mv /run/next /run/count; sleep 0.1; done) < /dev/null > /dev/null 2>&1 &"""

COUNTS = 'echo "$(hostname) counts at $(cat /run/count); mark: $(cat /run/mark 2> /dev/null || echo none)"'


def show(environment: fuse.Environment, line: str) -> None:
    """Runs a command line and prints what it says."""
    result = environment.exec(shell=line)
    print(f"{environment.id} $ {line}")
    for text in result.stdout.splitlines():
        print(f"    {text}")
    if result.exit_code != 0:
        sys.exit(f"{line!r} ended with exit code {result.exit_code}")


def count_beyond(environment: fuse.Environment, least: int) -> int:
    """How far the counter of a guest is, when it has gone beyond ``least``."""
    for _ in range(600):
        now = int(environment.exec(shell="cat /run/count 2> /dev/null || echo 0").stdout)
        if now > least:
            return now
        time.sleep(0.1)
    sys.exit(f"{environment.id} does not count beyond {least}")


def live(plane: fuse.Orchestrator) -> None:
    """One life."""
    # The stub's guest has files and no processes.
    has_memory = plane.provider is not None and plane.provider.name == "local"
    began = plane.newest_event()
    environment = plane.provision(
        "demo",
        spec={"cpus": 1, "ram_mb": 256},
        startup_script=COUNTER if has_memory else "echo 'made at boot' > /notes",
    ).wait_running(SOON)
    print(f"{environment.id} runs on {environment.host_id}")
    show(environment, "cat /notes")
    # With memory and processors: what runs goes on from here.
    before = count_beyond(environment, 0) if has_memory else 0
    snapshot = environment.create_snapshot(live=has_memory)
    show(environment, "echo 'changed later' > /notes; cat /notes")
    later = count_beyond(environment, before + 20) if has_memory else 0
    snapshot.restore()
    show(environment, "cat /notes")
    if has_memory:
        back = count_beyond(environment, before)
        print(f"    the counter was at {before} at the snapshot, at {later} before the restore, and goes on at {back}")
    fork = environment.fork(reuse_snapshot_id=snapshot.id).wait_running(SOON)
    show(fork, "echo 'of the fork' >> /notes; cat /notes")
    show(environment, "cat /notes")
    if has_memory:
        # The same process in two memories.
        fork.exec(shell="echo 'of the fork' > /run/mark")
        show(fork, COUNTS)
        show(environment, COUNTS)
    environment.drain()
    for each in (environment, fork):
        each.destroy()
        print(f"{each.id} is {each.refresh().state}")
    snapshot.delete()
    newest = plane.newest_event()
    for event in plane.events(after=began):
        print(f"  event {event.sequence:>3}  {event.event:<20} {event.subject_id}")
        if event.sequence >= newest:
            return


def describe(provider: fuse.Provider | None) -> str:
    """What runs the environments, for people."""
    if provider is not None and provider.name == "local":
        return "real VMs of this machine"
    return f"the STUB, which isolates nothing: {provider.why if provider else ''}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        with fuse.Orchestrator.open(sys.argv[1] if len(sys.argv) > 1 else temporary) as opened:
            print(f"host default: {describe(opened.provider)}")
            live(opened)

"""The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events at the end.

usage: sandbox.py [DIRECTORY OF THE STATE]
"""

from __future__ import annotations

import sys
import tempfile

import fuse_runtime as fuse


def show(environment: fuse.Environment, line: str) -> None:
    """Runs a command line and prints what it says."""
    result = environment.exec(shell=line)
    print(f"{environment.id} $ {line}")
    for text in result.stdout.splitlines():
        print(f"    {text}")
    if result.exit_code != 0:
        sys.exit(f"{line!r} ended with exit code {result.exit_code}")


def live(plane: fuse.Orchestrator) -> None:
    """One life."""
    began = plane.newest_event()
    environment = plane.provision(
        "demo", spec={"cpus": 1, "ram_mb": 256}, startup_script="echo 'made at boot' > /notes"
    ).wait_running()
    print(f"{environment.id} runs on {environment.host_id}")
    show(environment, "cat /notes")
    snapshot = environment.create_snapshot()
    show(environment, "echo 'changed later' > /notes; cat /notes")
    snapshot.restore()
    show(environment, "cat /notes")
    fork = environment.fork(reuse_snapshot_id=snapshot.id).wait_running()
    show(fork, "echo 'of the fork' >> /notes; cat /notes")
    show(environment, "cat /notes")
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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        with fuse.Orchestrator.open(sys.argv[1] if len(sys.argv) > 1 else temporary) as opened:
            live(opened)

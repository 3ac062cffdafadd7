"""The published Python client of the original control plane drives a server through a whole life.

usage: life.py URL TOKEN. Runs with every version of `folsom-fuse`; what a version does not have is left out, and said.
"""

import sys
import threading
import uuid

import fuse
from fuse import errors, types

URL, TOKEN = sys.argv[1:3]
TASK = "life-" + uuid.uuid4().hex[:12]
left_out = []


def has(thing, name):
    if hasattr(thing, name):
        return True
    left_out.append(name)
    return False


def refused(code, call):
    try:
        call()
    except errors.ApiError as error:
        assert error.code == code, f"{error.code} instead of {code}: {error}"
        assert error.request_id, "an error has a request id"
        return error
    raise AssertionError(f"{code} was expected")


def snapshots_and_forks(client, vm):
    made = client.snapshots.create(vm.id, types.SnapshotRequest(comment="before the change"))
    assert made.state == "ready" and made.vm_id == vm.id and made.comment == "before the change"
    assert client.snapshots.get(made.id).id == made.id
    assert made.id in [s.id for s in client.snapshots.list(vm_id=vm.id)]
    client.snapshots.restore(made.id)
    if has(client.snapshots, "resolve"):
        assert client.snapshots.resolve("0" * 64, "amd64") is None
    if has(client.environments, "fork"):
        fork = client.environments.fork(vm.id)
        assert fork.state == "running" and fork.id.startswith("fuse-fork-"), fork
        client.environments.destroy(fork.id)
        for seed in client.snapshots.list(vm_id=vm.id):
            if seed.id != made.id:
                client.snapshots.delete(seed.id)
    client.snapshots.delete(made.id)
    refused("not_found", lambda: client.snapshots.get(made.id))


def guests(client, vm):
    if not has(client.environments, "exec"):
        return
    result = client.environments.exec(vm.id, types.ExecRequest(cmd=["echo", "hello"]))
    assert (result.exit_code, result.stdout) == (0, "hello\n"), result
    assert client.environments.exec(vm.id, types.ExecRequest(shell="false")).exit_code == 1


def hosts(client):
    name = "life-" + uuid.uuid4().hex[:8]
    capacity = types.HostCapacity(cpus=2, ram_mb=2048, storage_gb=20, vm_count=4)
    made = client.hosts.register(types.RegisterHostRequest(id=name, url=f"stub://{name}", capacity=capacity))
    assert made.id == name and made.state == "active" and made.capacity.cpus == 2
    client.hosts.cordon(name)
    assert client.hosts.get(name).state == "cordoned"
    client.hosts.uncordon(name)
    assert {"default", name} <= {h.id for h in client.hosts.list()}
    client.hosts.deregister(name)
    refused("not_found", lambda: client.hosts.get(name))


def api_keys(client):
    made = client.api_keys.create("life")
    assert made.key.startswith("fuse_sk_")
    with fuse.Client(URL, made.key) as other:
        other.environments.list()
        refused("unauthorized", lambda: other.api_keys.list())
    client.api_keys.revoke(made.id)
    assert any(k.id == made.id and k.revoked_at for k in client.api_keys.list())
    with fuse.Client(URL, made.key) as other:
        refused("unauthorized", lambda: other.environments.list())


def follow(vm, states, ready):
    with fuse.Client(URL, TOKEN) as client:
        for event in client.environments.events(vm.id):
            assert not getattr(event, "err", None), event
            states.append(event.state)
            ready.set()


def main():
    with fuse.Client(URL, TOKEN) as client:
        request = types.CreateRequest(
            task_id=TASK,
            spec=types.Spec(cpus=1, ram_mb=256, storage_gb=1),
            secrets={"API_KEY": "a-secret-value"},
            startup_script="echo started",
        )
        vm = client.environments.create(request)
        assert vm.id == "fuse-" + TASK and vm.state == "running" and vm.url, vm
        assert client.environments.get(vm.id).task_id == TASK
        assert vm.id in [e.id for e in client.environments.list(task_id=TASK)]
        refused("conflict", lambda: client.environments.create(request))
        refused("invalid_argument", lambda: client.environments.create(types.CreateRequest(task_id="")))
        refused("not_found", lambda: client.environments.get("fuse-nobody"))

        states, ready = [], threading.Event()
        follower = threading.Thread(target=follow, args=(vm, states, ready), daemon=True)
        follower.start()
        assert ready.wait(30), "the stream begins with the present state"

        guests(client, vm)
        snapshots_and_forks(client, vm)
        client.environments.rotate_token(vm.id)
        hosts(client)
        api_keys(client)

        drained = client.environments.drain(vm.id)
        assert drained.state == "draining", drained
        refused("conflict", lambda: client.environments.drain(vm.id))
        client.environments.destroy(vm.id)
        refused("not_found", lambda: client.environments.destroy(vm.id))
        follower.join(30)
        assert not follower.is_alive(), "the stream ends with the environment"
        assert states == ["running", "draining", "destroying", "destroyed"], states
    with fuse.Client(URL, "wrong") as client:
        refused("unauthorized", lambda: client.environments.list())
    print("a whole life" + (f"; this version has no {', '.join(left_out)}" if left_out else ""))


main()

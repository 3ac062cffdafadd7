"""The orchestrator as a Python program sees it: waiting, and awaited."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import server
from test_process import python

import fuse_runtime as fuse


@pytest.mark.skipif(not server.PROGRAM, reason="FUSE_PROGRAM names no server")
def test_a_wrong_token_is_refused() -> None:
    with server.serving() as (url, token), pytest.raises(fuse.UnauthorizedError) as refused:
        fuse.Orchestrator.connect(url, "wrong-" + token[:8]).get("fuse-nobody")
    assert token not in str(refused.value)


def test_a_whole_life(plane) -> None:
    environment = plane.provision("t1", spec={"cpus": 1, "ram_mb": 256}, files={"/work/a.txt": b"hello"})
    assert environment.state == "provisioning"
    assert environment.wait_running() is environment and environment.state == "running"
    assert (environment.task_id, environment.spec["cpus"], environment.host_id) == ("t1", 1, "default")
    assert environment.exec("cat", "/work/a.txt").stdout_bytes == b"hello"
    result = environment.exec(shell="exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "")
    environment.upload("/work/b.txt", "text", mode=0o600)
    assert environment.exec("cat", "/work/b.txt").stdout == "text"
    assert [e.id for e in plane.environments(state="running")] == [environment.id]
    assert plane.get(environment.id) == environment.refresh()
    assert "running" in repr(environment)
    assert environment.drain().state == "draining"
    environment.destroy()
    assert list(plane.environments()) == []


def test_snapshots_and_forks(plane) -> None:
    environment = plane.provision("t1").wait_running()
    environment.upload("/work/a", b"1")
    snapshot = environment.create_snapshot(comment="first", metadata={"by": "test"})
    environment.upload("/work/a", b"2")
    fork = environment.fork().wait_running()
    assert fork.exec("cat", "/work/a").stdout == "2" and fork.forked_from == environment.id
    snapshot.restore()
    assert environment.exec("cat", "/work/a").stdout == "1"
    assert [s.id for s in plane.snapshots()][-1] == snapshot.id
    assert plane.snapshot(snapshot.id).refresh().comment == "first"
    assert snapshot.lineage() == []
    fork.destroy()
    with pytest.raises(fuse.ConflictError, match="child"):
        snapshot.delete()
    (child,) = [s for s in plane.snapshots() if s.id != snapshot.id]
    assert [s.id for s in child.lineage()] == [snapshot.id]
    child.delete()
    snapshot.delete()
    with pytest.raises(fuse.OrchestratorError):
        snapshot.restore()


def test_errors_are_a_tree(plane) -> None:
    with pytest.raises(fuse.RecordNotFoundError) as missing:
        plane.get("fuse-nobody")
    assert (missing.value.code, isinstance(missing.value, LookupError)) == ("not_found", True)
    with pytest.raises(fuse.InvalidRequestError) as invalid:
        plane.provision("", spec={"cpus": -1})
    assert {"task_id", "spec.cpus"} <= set(invalid.value.details), invalid.value.details
    plane.provision("t1")
    with pytest.raises(fuse.ConflictError):
        plane.provision("t1")
    assert plane.provision("t2", idempotency_key="k").id == plane.provision("t2", idempotency_key="k").id
    with pytest.raises(AttributeError, match="no 'nonsense'"):
        plane.get("fuse-t2").nonsense


def test_events_follow(plane) -> None:
    environment = plane.provision("t1").wait_running()
    first = [next(plane.events(after=0)) for _ in range(2)]
    assert first[0] == first[1] and first[0].sequence == 1
    seen: list[str] = []

    def follow() -> None:
        for event in environment.events(after=0):
            seen.append(event.event)
            if event.event.endswith("removed"):
                return

    thread = threading.Thread(target=follow)
    thread.start()
    environment.destroy()
    thread.join(30)
    assert not thread.is_alive() and any(name.endswith("running") for name in seen), seen
    assert plane.newest_event() >= len(seen)


def test_hosts_keys_and_dead_letters(plane) -> None:
    host = plane.register_host("h2", "stub://h2", region="eu")
    assert [h.id for h in plane.hosts()] == ["default", "h2"]
    host.cordon()
    assert host.refresh().state == "cordoned" and host.region == "eu"
    host.uncordon()
    assert plane.host_drain("h2") is None
    assert plane.drain_host("h2", limit_seconds=5)["environments"] == 0
    assert plane.host_drain("h2") is not None
    host.uncordon()
    host.remove()
    assert plane.resolve_snapshot("no-such-layer", "amd64") is None
    key = plane.create_api_key("mine", ["read"])
    assert key.key is not None and key.key.startswith("fuse_sk_") and key.key not in repr(key)
    plane.revoke_api_key(key.id)
    assert [k.key for k in plane.api_keys()] == [None]
    assert plane.dead_letters() == []
    plane.check()


def test_the_state_is_kept(tmp_path) -> None:
    with fuse.Orchestrator.open(tmp_path / "state", provider="stub") as plane:
        plane.provision("kept").wait_running()
    with fuse.Orchestrator.open(tmp_path / "state", provider="stub") as plane:
        assert [e.task_id for e in plane.environments()] == ["kept"]


def test_nobody_answers() -> None:
    with pytest.raises(fuse.UnavailableError):
        fuse.Orchestrator.connect("http://127.0.0.1:9", "token")


def test_after_close_every_call_is_an_error() -> None:
    plane = fuse.Orchestrator.in_memory()
    environment = plane.provision("t1")
    plane.close()
    plane.close()
    for call in (environment.refresh, plane.newest_event, lambda: next(plane.events())):
        with pytest.raises(fuse.UnavailableError):
            call()


def test_asyncio() -> None:
    async def main() -> None:
        async with await fuse.AsyncOrchestrator.in_memory() as plane:
            made = await asyncio.gather(*(plane.provision(f"t{n}") for n in range(5)))
            running = await asyncio.gather(*(environment.wait_running() for environment in made))
            assert {e.state for e in running} == {"running"}
            assert [e.task_id async for e in plane.environments(limit=2)] == [f"t{n}" for n in range(5)]
            assert (await running[0].exec(shell="echo hello")).stdout == "hello\n"
            await running[0].upload("/work/a", b"1")
            snapshot = await running[0].create_snapshot()
            await snapshot.restore()
            async for event in running[0].events(after=0):
                if event.event.endswith("running"):
                    break
            with pytest.raises(fuse.RecordNotFoundError):
                await plane.get("fuse-nobody")
            for environment in running:
                await environment.destroy()

    asyncio.run(main())


def test_a_cancelled_wait_leaves_the_loop_free() -> None:
    async def main() -> None:
        async with await fuse.AsyncOrchestrator.in_memory() as plane:
            events = plane.events()
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.1)
            assert time.monotonic() - began < 30
            assert await plane.newest_event() >= 0

    asyncio.run(main())


def test_the_loop_turns_while_calls_are_awaited() -> None:
    async def main() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        async with await fuse.AsyncOrchestrator.in_memory() as plane:
            other = asyncio.create_task(turn())
            for n in range(20):
                await (await plane.provision(f"t{n}")).wait_running()
            other.cancel()
        return turns

    assert asyncio.run(main()) > 5


def test_eight_threads(plane) -> None:
    failed: list[BaseException] = []

    def life(n: int) -> None:
        try:
            environment = plane.provision(f"t{n}").wait_running()
            assert environment.exec(shell=f"echo {n}").stdout == f"{n}\n"
            environment.destroy()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=life, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_ctrl_c_ends_a_wait() -> None:
    result = python("""
        import os, signal, threading
        with fuse.Orchestrator.in_memory() as plane:
            try:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                for event in plane.events(): pass
            except KeyboardInterrupt:
                print("interrupted", plane.newest_event() >= 0)
    """)
    assert result.stdout == "interrupted True\n", result.stderr


def test_forks_and_the_end_of_the_interpreter() -> None:
    result = python("""
        import os
        plane = fuse.Orchestrator.in_memory()
        environment = plane.provision("t1").wait_running()
        child = os.fork()
        if child == 0:
            try:
                environment.refresh()
            except fuse.UnavailableError as error:
                assert "child" in str(error)
                del environment, plane
                with fuse.Orchestrator.in_memory() as own:
                    own.provision("t2").wait_running()
                os._exit(7)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), environment.refresh().state)
    """)
    assert (result.returncode, result.stdout) == (0, "7 running\n"), result.stderr

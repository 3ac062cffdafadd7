"""Terminals: typed to and read, waiting and awaited, in this process and over REST."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import server
from test_process import python

import fuse_runtime as fuse


@pytest.fixture
def environment(plane):
    return plane.provision("t1").wait_running()


def test_a_shell_is_typed_to_until_it_exits(environment) -> None:
    with environment.attach(rows=40, cols=120) as terminal:
        terminal.write("echo hello\n")
        assert terminal.read() == b"hello\n" and terminal.exit_code is None
        terminal.resize(10, 20)
        terminal.write(b"echo again\nexit 3\n")
        assert b"".join(terminal) == b"again\n"
        assert (terminal.exit_code, terminal.read(), "exit_code=3" in repr(terminal)) == (3, b"", True)
        with pytest.raises(fuse.UnavailableError):
            terminal.write("too late\n")
    terminal.close()


def test_a_program_has_arguments_and_an_exit_code(environment) -> None:
    environment.upload("/work/a", b"1")
    terminal = environment.attach("cat", "/work/a", "/work/missing")
    assert b"".join(terminal).startswith(b"1") and terminal.exit_code == 1


def test_what_is_asked_for_is_checked(plane, environment) -> None:
    for size, wrong in (((0, 80), "rows"), ((24, 70_000), "cols")):
        with pytest.raises(fuse.InvalidRequestError) as invalid:
            environment.attach(rows=size[0], cols=size[1])
        assert wrong in invalid.value.details
    with environment.attach() as terminal, pytest.raises(fuse.InvalidRequestError):
        terminal.resize(0, 1)
    environment.destroy()
    with pytest.raises(fuse.OrchestratorError) as gone:
        environment.attach()
    assert gone.value.code in ("not_found", "conflict")


def test_a_close_ends_a_read_that_waits(environment) -> None:
    terminal = environment.attach()
    threading.Timer(0.2, terminal.close).start()
    assert terminal.read() == b"" and terminal.exit_code is None
    assert list(terminal) == []
    with pytest.raises(fuse.UnavailableError, match="closed"):
        terminal.write("x")


def test_much_goes_both_ways(environment) -> None:
    with environment.attach() as terminal:
        line = "echo " + "x" * 1000 + "\n"
        writer = threading.Thread(target=lambda: [terminal.write(line * 50) for _ in range(20)] and terminal.write("exit\n"))
        writer.start()
        assert b"".join(terminal) == (b"x" * 1000 + b"\n") * 1000
        writer.join()
    assert terminal.exit_code == 0


@pytest.mark.parametrize("where", ["here", "there"])
def test_awaited(where: str) -> None:
    async def life(plane: fuse.AsyncOrchestrator) -> None:
        environment = await (await plane.provision("t1")).wait_running()
        async with await environment.attach() as terminal:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(terminal.read(), 0.05)
            await terminal.write("echo hello\n")
            # What the read whose wait was given up gets is not lost.
            assert await terminal.read() == b"hello\n"
            await terminal.resize(5, 6)
            await terminal.write("echo again\nexit 4\n")
            assert b"".join([piece async for piece in terminal]) == b"again\n"
            assert terminal.exit_code == 4
        other = await environment.attach()
        asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(other.close()))
        assert await other.read() == b""
        await environment.destroy()

    async def main() -> None:
        if where == "here":
            async with await fuse.AsyncOrchestrator.in_memory() as plane:
                await life(plane)
            return
        with server.serving() as (url, token):
            async with await fuse.AsyncOrchestrator.connect(url, token) as plane:
                await life(plane)

    if where == "there" and not server.PROGRAM:
        pytest.skip("FUSE_PROGRAM names no server")
    asyncio.run(main())


@pytest.mark.skipif(not server.PROGRAM, reason="FUSE_PROGRAM names no server")
def test_a_server_that_goes_away_is_an_error_and_no_end() -> None:
    with server.serving() as (url, token), fuse.Orchestrator.connect(url, token) as plane:
        terminal = plane.provision("t1").wait_running().attach()
        terminal.write("echo hello\n")
        assert terminal.read() == b"hello\n"
        server.kill()
        with pytest.raises(fuse.UnavailableError, match="broke off"):
            began = time.monotonic()
            while time.monotonic() - began < 60:
                assert terminal.read() != b"", "it ended as if the program had"
        assert terminal.exit_code is None


def test_ctrl_c_ends_a_read() -> None:
    result = python("""
        import os, signal, threading
        with fuse.Orchestrator.in_memory() as plane:
            terminal = plane.provision("t1").wait_running().attach()
            try:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                terminal.read()
            except KeyboardInterrupt:
                terminal.write("echo on\\n")
                print("interrupted", terminal.read())
    """)
    assert result.stdout == "interrupted b'on\\n'\n", result.stderr

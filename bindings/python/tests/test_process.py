"""What concerns the process: memory, signals, forks, the end of the interpreter."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest
from conftest import STEP, TEMP, started

import fuse_runtime as fuse


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, which finds what this one found."""
    here = str(pathlib.Path(__file__).parent)
    paths = [str(pathlib.Path(fuse.__file__).parents[1]), here, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # Who runs the tests in the background may have told them to ignore Ctrl-C.
    prelude = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import fuse_runtime as fuse\nfrom conftest import *\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


def resident_bytes() -> int:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_a_thousand_runtimes_leave_nothing_behind(end: str) -> None:
    artifact = fuse.compile(TEMP)

    def one() -> None:
        runtime = fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0))
        started(runtime, artifact, capabilities=["TEMP_SENSOR"]).run_step()
        if end == "closed":
            runtime.close()

    for _ in range(200):
        one()
    before = resident_bytes()
    for _ in range(1000):
        one()
    assert resident_bytes() - before < 16 << 20
    assert len(os.listdir("/proc/self/task")) < 20, "the watchdogs ended"


def test_orchestrators_that_are_dropped_take_their_threads_along() -> None:
    result = python("""
        import os, time
        for n in range(30):
            terminal = fuse.Orchestrator.in_memory().provision("t").wait_running().attach()
            del terminal
        ends = time.monotonic() + 60
        while len(os.listdir("/proc/self/task")) > 10 and time.monotonic() < ends:
            time.sleep(0.05)
        print(len(os.listdir("/proc/self/task")) <= 10)
    """)
    assert result.stdout == "True\n", result.stderr


def test_the_interpreter_ends_while_a_terminal_and_a_stream_are_read() -> None:
    result = python("""
        import threading, time
        plane = fuse.Orchestrator.in_memory()
        terminal = plane.provision("t").wait_running().attach()
        for read in (terminal.read, lambda: list(plane.events())):
            threading.Thread(target=read, daemon=True).start()
        time.sleep(0.2)
        print("done")
    """)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_ctrl_c_ends_run() -> None:
    result = python("""
        import os, signal, threading
        runtime = fuse.Runtime()
        started(runtime, STEP, step_interval_us=1000)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            runtime.run()
        except KeyboardInterrupt:
            print("interrupted", runtime.modules[0].stats.steps > 0)
    """)
    assert result.stdout == "interrupted True\n", result.stderr


def test_ctrl_c_ends_a_callback() -> None:
    result = python("""
        import os, signal, time
        def slow():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
            return 1.0
        runtime = fuse.Runtime(hal=fuse.Hal(temp=slow))
        module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
        for step in (module.run_step, runtime.tick):
            try:
                step()
            except KeyboardInterrupt:
                print("interrupted", module.state)
                module.restart()
    """)
    assert result.stdout == "interrupted Trapped\n" * 2, result.stderr


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "os._exit(0)", "raise SystemExit(0)"])
def test_the_interpreter_ends_with_live_runtimes(end) -> None:
    result = python(f"""
        import sys, os
        keep = [fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0)) for _ in range(4)]
        modules = [started(r, TEMP, capabilities=["TEMP_SENSOR"], cpu_quota_us=1000) for r in keep]
        for m in modules: m.run_step()
        cycle = [keep]; cycle.append(cycle)
        {end}
    """)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_interpreter_ends_while_a_thread_steps() -> None:
    result = python("""
        import threading, time
        runtime = fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0))
        module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
        def step():
            while True:
                module.run_step()
        threading.Thread(target=step, daemon=True).start()
        time.sleep(0.1)
    """)
    assert result.returncode == 0, result.stderr


def test_a_fork_gets_an_error_and_can_make_its_own() -> None:
    result = python("""
        import os, sys
        runtime = fuse.Runtime()
        module = started(runtime, STEP, cpu_quota_us=1000)
        child = os.fork()
        if child == 0:
            try:
                module.run_step()
            except fuse.WrongStateError as error:
                assert "forked" in str(error)
            else:
                os._exit(1)
            del module, runtime
            with fuse.Runtime() as own:
                looping = started(own, LOOP, cpu_quota_us=1000)
                try:
                    looping.run_step()
                except fuse.QuotaExceededError:
                    os._exit(7)
            os._exit(2)
        _, status = os.waitpid(child, 0)
        module.run_step()
        print(os.waitstatus_to_exitcode(status))
    """)
    assert result.stdout == "7\n", result.stderr


def test_multiprocessing_by_fork() -> None:
    result = python("""
        import multiprocessing
        def work(number):
            with fuse.Runtime() as runtime:
                module = started(runtime, STEP)
                for _ in range(number): module.run_step()
                return module.stats.steps
        here = fuse.Runtime()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(work, [1, 2, 3]))
    """)
    assert result.stdout == "[1, 2, 3]\n", result.stderr


def test_signals_stay_with_the_program() -> None:
    before = signal.getsignal(signal.SIGINT)
    with fuse.Runtime() as runtime:
        started(runtime, STEP, cpu_quota_us=1000).run_step()
        assert signal.getsignal(signal.SIGINT) is before

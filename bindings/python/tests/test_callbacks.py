"""Callbacks that raise, that call back, and what holds on to what."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest
from conftest import CAMERA, STEP, TEMP, started

import fuse_runtime as fuse


def test_what_a_callback_raises_is_the_cause(runtime) -> None:
    def broken() -> float:
        raise ValueError("no sensor")

    runtime.set_temp(broken)
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    with pytest.raises(fuse.TrapError) as trap:
        module.run_step()
    assert isinstance(trap.value.__cause__, ValueError)
    assert trap.value.code == fuse.HAL_RAISED
    other = started(runtime, STEP)
    assert [o.module for o in runtime.tick()] == [other], "the rest of the runtime goes on"


def test_a_fault_has_its_own_code(runtime) -> None:
    def broken() -> float:
        raise fuse.HalFault(-7)

    runtime.set_temp(broken)
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    with pytest.raises(fuse.TrapError) as trap:
        module.run_step()
    assert trap.value.code == -7


def test_another_type_than_the_signature_says(runtime) -> None:
    runtime.set_temp(lambda: "warm")  # type: ignore[arg-type,return-value]
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    with pytest.raises(fuse.TrapError) as trap:
        module.run_step()
    assert trap.value.code == fuse.HAL_RESULT_MISMATCH
    assert isinstance(trap.value.__cause__, fuse.HalTypeError)
    assert "must return a float, it returned str" in str(trap.value.__cause__)


def test_a_tick_says_what_was_raised(runtime) -> None:
    errors = [KeyError("first"), OSError("second")]

    def broken() -> float:
        raise errors[len(seen)]

    seen: list[object] = []
    runtime.set_temp(lambda: broken_once())

    def broken_once() -> float:
        try:
            return broken()
        finally:
            seen.append(None)

    started(runtime, TEMP, capabilities=["TEMP_SENSOR"], priority=1)
    started(runtime, TEMP, capabilities=["TEMP_SENSOR"], priority=2)
    report = runtime.tick()
    assert [o.exception for o in report] == errors
    assert [o.error for o in report] == [fuse.TrapError, fuse.TrapError]


def test_exits_pass_through(runtime) -> None:
    def leave() -> float:
        sys.exit(3)

    runtime.set_temp(leave)
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    with pytest.raises(SystemExit):
        module.run_step()
    module.restart()
    with pytest.raises(SystemExit):
        runtime.tick()
    assert module.state is fuse.ModuleState.TRAPPED


@pytest.mark.parametrize("call", ["tick", "stop", "close", "unload", "load", "state", "set_temp", "log"])
def test_reentry_is_refused(runtime, call) -> None:
    calls = {
        "tick": lambda: runtime.tick(),
        "stop": lambda: runtime.stop(),
        "close": lambda: runtime.close(),
        "unload": lambda: module.unload(),
        "load": lambda: runtime.load("other", STEP),
        "state": lambda: module.state,
        "set_temp": lambda: runtime.set_temp(lambda: 0.0),
        "log": lambda: runtime.log_records(),
    }

    def callback() -> float:
        with pytest.raises(fuse.WrongStateError, match="inside a call"):
            calls[call]()
        runtime.post_event(1)
        return 1.0

    runtime.set_temp(callback)
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    module.run_step()
    assert module.stats.steps == 1


def test_buffers_must_keep_their_length(runtime) -> None:
    group = fuse.HalGroup("g", 8)
    group.add("fill", ["out"], None, lambda buffer: buffer.clear())
    runtime.register_group(group)
    module = started(
        runtime,
        """(module (import "env" "fill" (func $f (param i32 i32))) (memory (export "memory") 1)
          (func (export "module_step") (call $f (i32.const 0) (i32.const 8))))""",
        capabilities=256,
    )
    with pytest.raises(fuse.TrapError) as trap:
        module.run_step()
    assert "resized" in str(trap.value.__cause__)


def test_after_close_every_use_is_an_error() -> None:
    runtime = fuse.Runtime()
    module = started(runtime, STEP)
    runtime.close()
    runtime.close()
    assert runtime.closed
    for use in (runtime.tick, module.run_step, module.start, lambda: module.state, lambda: runtime.modules, runtime.run):
        with pytest.raises(fuse.WrongStateError, match="closed"):
            use()
    runtime.post_event(1)
    assert "closed" in repr(runtime)


def test_close_runs_what_is_owed() -> None:
    readings = []
    with fuse.Runtime(hal=fuse.Hal(temp=lambda: readings.append(1) or 1.0)) as runtime:
        started(
            runtime,
            """(module (import "env" "temp_get_reading" (func $t (result f32)))
              (func (export "module_step")) (func (export "module_deinit") (drop (call $t))))""",
            capabilities=["TEMP_SENSOR"],
        )
    assert readings == [1]


def test_cycles_are_collected() -> None:
    def make() -> weakref.ref[fuse.Runtime]:
        runtime = fuse.Runtime()
        runtime.set_temp(lambda: float(len(runtime.modules)))
        runtime.set_camera(lambda n: runtime.name)  # type: ignore[attr-defined]
        started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
        return weakref.ref(runtime)

    alive = make()
    gc.collect()
    assert alive() is None


def test_eight_threads_use_one_runtime() -> None:
    with fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0)) as runtime:
        modules = [started(runtime, TEMP, capabilities=["TEMP_SENSOR"]) for _ in range(8)]
        errors: list[BaseException] = []

        def work(module: fuse.Module) -> None:
            try:
                for _ in range(200):
                    module.run_step()
                    runtime.post_event(1)
                    assert module.stats.steps > 0
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(m,)) for m in modules]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [m.stats.steps for m in modules] == [200] * 8


def test_eight_threads_with_a_runtime_each() -> None:
    done = []

    def work() -> None:
        with fuse.Runtime(hal=fuse.Hal(camera=lambda n: b"frame")) as runtime:
            module = started(runtime, CAMERA, capabilities=["CAMERA"], cpu_quota_us=1_000_000)
            for _ in range(200):
                module.run_step()
            done.append(module.stats.steps)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [200] * 8

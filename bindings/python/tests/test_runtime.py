"""The runtime as a Python program sees it."""

from __future__ import annotations

import logging
import pickle
import struct
import threading

import pytest
from conftest import CAMERA, LOGGER, LOOP, STEP, TEMP, TRAP, started

import fuse_runtime as fuse


def test_a_module_runs_and_says_what_it_did(runtime) -> None:
    module = started(runtime, STEP)
    report = runtime.tick()
    assert [o.module for o in report] == [module]
    assert (len(report), report[0].ok, report.failed) == (1, True, [])
    assert (module.state, module.stats.steps, module.failure) == (fuse.ModuleState.RUNNING, 1, None)
    assert repr(module) == '<Module "m0" Running steps=1>'
    assert repr(runtime) == '<Runtime "" modules=1>'


def test_the_errors_are_a_tree() -> None:
    kinds = {error.kind for error in fuse.errors.EDGE_ERRORS.values()}
    assert kinds == set(fuse.ErrorKind)
    for error in fuse.errors.EDGE_ERRORS.values():
        assert issubclass(error, fuse.EdgeError) and issubclass(error, fuse.FuseError)
    assert issubclass(fuse.NotFoundError, LookupError)
    assert issubclass(fuse.InvalidArgError, ValueError)


def test_errors_carry_what_they_know(runtime) -> None:
    with pytest.raises(fuse.InvalidArgError) as invalid:
        fuse.AppConfig.from_json('{"application": {"name": "a", "max_modules": 0}, "modules": []}')
    assert invalid.value.path == "$.application.max_modules"
    module = started(runtime, STEP, step_interval_us=10_000_000)
    module.run_step()
    with pytest.raises(fuse.IntervalNotElapsedError) as early:
        module.run_step()
    assert 0 < early.value.remaining_us <= 10_000_000
    trapped = started(runtime, TRAP)
    with pytest.raises(fuse.TrapError) as trap:
        trapped.run_step()
    assert (trap.value.module, trap.value.entry) == ("m1", "module_step")
    assert "unreachable" in trap.value.failure
    assert trapped.state is fuse.ModuleState.TRAPPED


def test_policies_are_values() -> None:
    policy = fuse.Policy(capabilities=["TIMER", "CAMERA"], cpu_quota_us=1000, activation="EVENT")
    assert policy == fuse.Policy(capabilities=fuse.Capability.TIMER | fuse.Capability.CAMERA, cpu_quota_us=1000, activation=2)
    assert hash(policy) == hash(policy.replace())
    assert policy.replace(cpu_quota_us=5).cpu_quota_us == 5
    assert policy.replace(activation="MANUAL").activation == fuse.Activation.MANUAL
    assert fuse.Policy.from_bytes(policy.to_bytes()) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert "cpu_quota_us=1000" in repr(policy)
    with pytest.raises(fuse.InvalidArgError, match="stack_sise"):
        fuse.Policy(stack_sise=1)  # type: ignore[call-arg]


def test_an_unlimited_loop_ends_at_its_quota(runtime) -> None:
    module = started(runtime, LOOP, cpu_quota_us=2_000)
    with pytest.raises(fuse.QuotaExceededError):
        module.run_step()
    assert module.state is fuse.ModuleState.QUOTA_EXCEEDED
    module.restart()
    assert runtime.tick().failed[0].error is fuse.QuotaExceededError


def test_other_threads_run_while_a_module_runs(runtime) -> None:
    module = started(runtime, LOOP, cpu_quota_us=200_000)
    counted = 0
    failed: list[BaseException] = []

    def step() -> None:
        try:
            module.run_step()
        except fuse.QuotaExceededError as error:
            failed.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    while thread.is_alive():
        counted += 1
        thread.join(0.001)
    # A step that held the lock would let this loop go round once.
    assert counted > 5 and failed


def test_records_go_to_logging(caplog) -> None:
    with caplog.at_level(logging.DEBUG, logger="fuse_runtime.edge"), fuse.Runtime() as runtime:
        started(runtime, LOGGER, capabilities=["LOG"])
        trapped = started(runtime, TRAP)
        runtime.tick()
    texts = [(r.levelno, r.getMessage()) for r in caplog.records]
    assert (logging.INFO, "m0: hello") in texts
    fatal = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(fatal) == 1 and "unreachable" in fatal[0].getMessage()
    assert fatal[0].fuse_module == "m1" and fatal[0].fuse_source == "security"  # type: ignore[attr-defined]
    del trapped


def test_the_log_can_be_read(runtime) -> None:
    module = started(runtime, LOGGER, capabilities=["LOG"])
    module.run_step()
    (record,) = runtime.log_records()
    assert (record.text, record.level, record.source, record.module) == ("hello", "info", "module", "m0")
    assert runtime.log_records(record.sequence + 1) == []
    assert (runtime.log_next_sequence, runtime.log_lost, runtime.log_lost_security) == (1, 0, 0)


def test_memory_can_be_read(runtime) -> None:
    runtime.set_temp(lambda: 21.5)
    module = started(runtime, TEMP, capabilities=["TEMP_SENSOR"])
    module.run_step()
    assert struct.unpack("<f", module.read_memory(0, 4)) == (21.5,)
    assert module.memory_bytes == 65536
    assert len(module.read_memory(65_000)) == 536
    assert module.read_memory(1 << 40, 10) == b""


def frame(kind: str):
    numpy = pytest.importorskip("numpy") if kind.startswith("numpy") else None
    data = bytes(range(64))
    return {
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "numpy": lambda: numpy.frombuffer(data, numpy.uint8).reshape(8, 8),  # type: ignore[union-attr]
        "numpy wide": lambda: numpy.frombuffer(data, numpy.uint16),  # type: ignore[union-attr]
        "array": lambda: __import__("array").array("I", struct.unpack("<16I", data)),
    }[kind]()


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "numpy", "numpy wide", "array"])
def test_frames_are_any_buffer(runtime, kind) -> None:
    given = frame(kind)
    runtime.set_camera(lambda max_len: given)
    module = started(runtime, CAMERA, capabilities=["CAMERA"])
    module.run_step()
    assert struct.unpack("<q", module.read_memory(0, 8)) == (64,)
    assert module.read_memory(8, 64) == bytes(range(64))


def test_frames_are_cut_and_may_be_missing(runtime) -> None:
    frames = [None, b"", bytearray(b"x" * 5000), memoryview(b"y" * 5000)]
    runtime.set_camera(lambda max_len: frames.pop(0))
    module = started(runtime, CAMERA, capabilities=["CAMERA"])
    for expected in (0, 0, 1024, 1024):
        module.run_step()
        assert struct.unpack("<q", module.read_memory(0, 8)) == (expected,)
    assert module.read_memory(8, 1025) == b"y" * 1024 + b"\0"


def test_a_frame_that_is_no_buffer_traps(runtime) -> None:
    runtime.set_camera(lambda max_len: memoryview(bytes(8))[::2])
    module = started(runtime, CAMERA, capabilities=["CAMERA"])
    with pytest.raises(fuse.TrapError) as trap:
        module.run_step()
    assert isinstance(trap.value.__cause__, (TypeError, BufferError))


def test_groups_see_typed_arguments(runtime) -> None:
    seen = []
    group = fuse.HalGroup("radio", 9)

    @group.function(params=["i32", "i64", "f32", "f64", "in", "inout"], result="i64")
    def exchange(a, b, c, d, data, both):
        seen.append((a, b, c, d, data, bytes(both), runtime.calling_module_id))
        both[:3] = b"abc"
        return 1 << 40

    runtime.register_group(group)
    module = started(
        runtime,
        """(module
          (import "env" "exchange" (func $x (param i32 i64 f32 f64 i32 i32 i32 i32) (result i64)))
          (memory (export "memory") 1) (data (i32.const 0) "in!!") (data (i32.const 16) "12345")
          (func (export "module_step") (i64.store (i32.const 32)
            (call $x (i32.const -1) (i64.const 5000000000) (f32.const 0.5) (f64.const 0.25)
              (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 5)))))""",
        capabilities=group.capability,
    )
    module.run_step()
    assert seen == [(-1, 5_000_000_000, 0.5, 0.25, b"in!!", b"12345", module.id)]
    assert module.read_memory(16, 5) == b"abc45"
    assert struct.unpack("<q", module.read_memory(32, 8)) == (1 << 40,)
    assert runtime.calling_module_id is None


def test_events_have_names() -> None:
    with fuse.Runtime({"events": {"FRAME": 3}}) as runtime:
        module = started(runtime, STEP, activation="EVENT", event_subscribe=1 << 3)
        assert runtime.next_deadline_us is None
        runtime.post_event("FRAME")
        assert (module.latch, runtime.next_deadline_us) == (8, 0)
        runtime.clear_event(3)
        assert module.latch == 0
        with pytest.raises(fuse.InvalidArgError, match="FRAME"):
            runtime.post_event("FARME")
        with pytest.raises(fuse.InvalidArgError):
            runtime.poster().post(-1)


def test_run_sleeps_until_something_is_due() -> None:
    with fuse.Runtime({"events": {"GO": 0}}) as runtime:
        started(runtime, STEP, step_interval_us=2_000)
        assert runtime.run(ticks=5) == 5
        seen = []
        assert runtime.run(on_tick=lambda report: seen.append(len(report)) or len(seen) < 3) == 3
        assert seen == [1, 1, 1]


def test_a_post_from_a_thread_wakes_a_wait() -> None:
    with fuse.Runtime({"events": {"GO": 0}}) as runtime:
        started(runtime, STEP, activation="EVENT", event_subscribe=1)
        assert runtime.wait(0.01) is False
        poster = runtime.poster()
        thread = threading.Timer(0.02, poster.post, ("GO",))
        thread.start()
        assert runtime.wait(30) is True
        thread.join()


def test_stop_from_a_thread_ends_run(runtime) -> None:
    started(runtime, STEP, step_interval_us=1_000)
    timer = threading.Timer(0.05, runtime.stop)
    timer.start()
    assert runtime.run() > 0
    timer.join()
    assert runtime.is_stopped


def test_artifacts_are_compiled_and_inspected() -> None:
    artifact = fuse.compile(STEP, metering="fuel", target="pulley64")
    found = fuse.inspect(artifact)
    assert (found.target, found.metering, found.traps) == ("pulley64", "fuel", "explicit")
    assert found.identity.startswith(fuse.ENGINE_VERSION) and len(found.code_sha256) == 64
    assert found.portable is not None and found.portable[:4] == b"\0asm"
    with fuse.Runtime({"metering": "fuel"}, compile_on_load=False) as runtime:
        module = started(runtime, artifact, fuel_quota=1000)
        module.run_step()
        assert module.stats.fuel_last > 0
    bent = bytearray(artifact)
    bent[-1] ^= 1
    with pytest.raises(fuse.LoadFailedError):
        fuse.inspect(bytes(bent))
    with pytest.raises(fuse.InvalidArgError, match="known are"):
        fuse.compile(STEP, target="z80")


def test_updates_and_files(runtime, tmp_path) -> None:
    path = tmp_path / "m.fuse"
    path.write_bytes(fuse.compile(STEP))
    module = runtime.load_file("m", path)
    module.start()
    module.update(fuse.compile(STEP))
    module.run_step()
    with pytest.raises(fuse.LoadFailedError):
        module.update("(module)")
    module.run_step()
    assert runtime.find("m") == module and len({runtime.find("m"), module}) == 1
    module.unload()
    with pytest.raises(fuse.NotFoundError):
        module.run_step()
    assert "not loaded" in repr(module)

"""Plays the edge scenarios (docs/scenarios.md) through the package, as a program would use it."""

from __future__ import annotations

import json
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import fuse_runtime as fuse

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "tests" / "scenarios" / "edge"


class Mismatch(AssertionError):
    """A step did not do what the scenario says."""


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise Mismatch(message)


def only(step: dict[str, Any], *fields: str) -> None:
    """A field that nobody looks at is a mistake of the file."""
    unknown = set(step) - set(fields) - {"do", "error", "message", "times", "why"}
    expect(not unknown, f"unknown fields {sorted(unknown)}")


def texts(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


class Script:
    """A callback that follows a script and records how it was called."""

    def __init__(self, runner: Runner, function: str, answers: list[dict[str, Any]]) -> None:
        self.runner, self.function, self.answers, self.next = runner, function, answers, 0

    def begin(self, arguments: list[Any]) -> dict[str, Any]:
        self.runner.calls.setdefault(self.function, []).append(arguments)
        answer = self.answers[min(self.next, len(self.answers) - 1)] if self.answers else {}
        self.next += 1
        if spin_us := answer.get("spin_us"):
            end = time.perf_counter() + spin_us / 1e6
            while time.perf_counter() < end:
                pass
        self.runner.clock.advance_us(answer.get("advance_us", 0))
        for event in answer.get("post", []):
            self.runner.runtime.post_event(event)
        if call := answer.get("reenter"):
            self.runner.reenter(call)
        if "fail" in answer:
            raise fuse.HalFault(answer["fail"])
        return answer

    def number(self, answer: dict[str, Any]) -> Any:
        return self.runner.clock.now_us if answer.get("clock") else answer.get("return", 0)

    def temp(self) -> float:
        return float(self.number(self.begin([])))

    def timer(self) -> int:
        return self.number(self.begin([]))

    def camera(self, max_len: int) -> bytes:
        answer = self.begin([max_len])
        frame = bytes.fromhex(answer.get("bytes", ""))
        # A Python callback has no other way to claim more than to return more.
        return frame.ljust(answer.get("claim", 0), b"\0")

    def group(self, params: list[str], result: str | None) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            shown = [v.hex() if p in ("in", "inout") else len(v) if p == "out" else v for p, v in zip(params, values)]
            answer = self.begin(shown)
            for param, value in zip(params, values):
                if param in ("out", "inout"):
                    data = bytes.fromhex(answer.get("bytes", ""))[: len(value)]
                    value[: len(data)] = data
                    break
            if answer.get("return_wrong_type"):
                return "not a number"
            if result is None:
                return None
            number = self.number(answer)
            return int(number) if result in ("i32", "i64") else float(number)

        return call


class Runner:
    """One scenario, for one target."""

    def __init__(self, path: pathlib.Path, target: str | None) -> None:
        self.scenario = json.loads(path.read_text())
        self.target = target
        known = {"about", "covers", "needs", "application", "compile_on_load", "stack_bytes_max", "modules", "steps"}
        expect(set(self.scenario) <= known, f"unknown fields {sorted(set(self.scenario) - known)}")
        self.new_runtime(self.scenario.get("application"))

    def new_runtime(self, application: Any) -> None:
        self.clock = fuse.ManualClock(quota_timer="quota_timer" in self.scenario.get("needs", []))
        self.runtime = fuse.Runtime(
            application,
            clock=self.clock,
            step_timing="every",
            compile_on_load=self.scenario.get("compile_on_load", True),
            stack_bytes_max=self.scenario.get("stack_bytes_max"),
            logger=None,
        )
        self.metering = self.runtime.application.metering
        self.calls: dict[str, list[list[Any]]] = {}
        self.handles: dict[str, fuse.Module] = {}
        self.names: dict[int, str] = {}
        self.log_read = 0

    def play(self) -> None:
        for index, step in enumerate(self.scenario["steps"]):
            for _ in range(step.get("times", 1)):
                try:
                    self.step(step)
                except Exception as error:
                    raise Mismatch(f"step {index}: {json.dumps(step)}\n    {error}") from error

    def step(self, step: dict[str, Any]) -> None:
        wanted = step.get("error")
        try:
            getattr(self, "do_" + step["do"])(step)
        except fuse.EdgeError as error:
            expect(wanted is not None, f"failed with {error.kind.name}: {error}")
            expect(error.kind.name == wanted, f"failed with {error.kind.name}: {error}; {wanted} was expected")
            for part in texts(step.get("message")):
                expect(part in str(error), f"its message lacks `{part}`: {error}")
            return
        expect(wanted is None, f"succeeded, {wanted} was expected")

    def artifact(self, key: str, damage: dict[str, int] | None = None) -> bytes:
        source = self.scenario["modules"][key]
        only(source, "wat", "file", "hex", "policy", "policy_hex", "compile")
        if "hex" in source:
            data = bytes.fromhex(source["hex"])
        else:
            text = (FOLDER / source["file"]).read_bytes() if "file" in source else "\n".join(source.get("wat", []))
            wanted = source.get("compile", {})
            data = fuse.compile(
                text,
                metering=wanted.get("metering", self.metering),
                target=wanted.get("target", self.target),
                portable=wanted.get("portable", False),
            )
        return damaged(data, damage)

    def do_load(self, step: dict[str, Any]) -> None:
        only(step, "module", "as", "name", "damage")
        source = self.scenario["modules"][step["module"]]
        handle = step.get("as", step["module"])
        if "policy" in source:
            policy = fuse.Policy.from_json(json.dumps(source["policy"]))
        elif "policy_hex" in source:
            policy = fuse.Policy.from_bytes(bytes.fromhex(source["policy_hex"]))
        else:
            policy = fuse.Policy()
        artifact = self.artifact(step["module"], step.get("damage"))
        self.remember(handle, self.runtime.load(step.get("name", handle), artifact, policy))

    def remember(self, handle: str, module: fuse.Module) -> None:
        self.handles[handle] = module
        self.names[module.id] = handle

    def do_start(self, step: dict[str, Any]) -> None:
        self.handles[step["module"]].start()

    def do_pause(self, step: dict[str, Any]) -> None:
        self.handles[step["module"]].pause()

    def do_run_step(self, step: dict[str, Any]) -> None:
        self.handles[step["module"]].run_step()

    def do_unload(self, step: dict[str, Any]) -> None:
        self.handles[step["module"]].unload()

    def do_restart_module(self, step: dict[str, Any]) -> None:
        self.handles[step["module"]].restart()

    def do_update(self, step: dict[str, Any]) -> None:
        only(step, "module", "with", "damage")
        self.handles[step["module"]].update(self.artifact(step["with"], step.get("damage")))

    def do_tick(self, step: dict[str, Any]) -> None:
        only(step, "ran", "failed")
        report = self.runtime.tick()
        ran = [self.names[outcome.module.id] for outcome in report]
        expect(step.get("ran", ran) == ran, f"{ran} ran")
        failed = {self.names[o.module.id]: o.error.kind.name for o in report.failed if o.error}
        expect(step.get("failed", {}) == failed, f"{failed} failed")

    def do_post(self, step: dict[str, Any]) -> None:
        only(step, "event", "from_thread")
        if not step.get("from_thread"):
            self.runtime.post_event(step["event"])
            return
        thread = threading.Thread(target=self.runtime.poster().post, args=(step["event"],))
        thread.start()
        thread.join()

    def do_clear(self, step: dict[str, Any]) -> None:
        self.runtime.clear_event(step["event"])

    def do_stop(self, step: dict[str, Any]) -> None:
        self.runtime.stop()

    def do_restart(self, step: dict[str, Any]) -> None:
        self.runtime.restart()

    def do_clock(self, step: dict[str, Any]) -> None:
        only(step, "set_us", "advance_us")
        if "set_us" in step:
            self.clock.set_us(step["set_us"])
        self.clock.advance_us(step.get("advance_us", 0))

    def do_callback(self, step: dict[str, Any]) -> None:
        only(step, "function", "script")
        script = Script(self, step["function"], step["script"])
        if step["function"] == "temp_get_reading":
            self.runtime.set_temp(script.temp)
        elif step["function"] == "timer_get_timestamp":
            self.runtime.set_timer(script.timer)
        elif step["function"] == "camera_last_frame":
            self.runtime.set_camera(script.camera)
        else:
            raise Mismatch(f"`{step['function']}` is not a built-in import with a callback")

    def do_group(self, step: dict[str, Any]) -> None:
        only(step, "name", "bit", "functions")
        group = fuse.HalGroup(step["name"], step["bit"])
        for function in step["functions"]:
            only(function, "name", "params", "results", "script")
            params = function.get("params", [])
            result = next(iter(function.get("results", [])), None)
            script = Script(self, function["name"], function.get("script", []))
            group.add(function["name"], params, result, script.group(params, result))
        self.runtime.register_group(group)

    def do_app(self, step: dict[str, Any]) -> None:
        only(step, "config", "text", "packed", "parse_only", "groups", "damage")
        text = json.dumps(step["config"]) if "config" in step else "\n".join(step["text"])
        config = fuse.AppConfig.from_json(text)
        if step.get("parse_only"):
            return
        self.new_runtime(config.application)
        for group in step.get("groups", []):
            self.do_group(group)
        artifacts = {module.name: self.artifact(module.binary) for module in config.modules}
        if step.get("packed"):
            carried = config.with_artifacts(artifacts)
            config = fuse.AppConfig.from_binary(damaged(carried.to_binary(), step.get("damage")))
            expect(config == carried, f"the binary form reads as {config!r}, it was {carried!r}")
        for module in self.runtime.load_app(config, fetch=lambda decl: artifacts[decl.name]):
            self.remember(module.name, module)

    def do_policy(self, step: dict[str, Any]) -> None:
        only(step, "json", "text", "hex", "binary", "fuel_quota", "priority")
        if "hex" in step:
            policy = fuse.Policy.from_bytes(bytes.fromhex(step["hex"]))
        else:
            text = json.dumps(step["json"]) if "json" in step else "\n".join(step["text"])
            policy = fuse.Policy.from_json(text)
        expect(step.get("binary", policy.to_bytes().hex()) == policy.to_bytes().hex(), policy.to_bytes().hex())
        expect(step.get("fuel_quota", policy.fuel_quota) == policy.fuel_quota, f"fuel_quota {policy.fuel_quota}")
        expect(step.get("priority", policy.priority) == policy.priority, f"priority {policy.priority}")

    def reenter(self, call: str) -> None:
        module = self.handles["a"]
        calls = {"unload": module.unload, "run_step": module.run_step}
        try:
            calls.get(call, getattr(self.runtime, call, None))()  # type: ignore[misc]
        except fuse.WrongStateError:
            return
        raise Mismatch(f"re-entry with {call} was not refused")

    def do_check(self, step: dict[str, Any]) -> None:
        only(
            step, "states", "log", "lost", "lost_security", "calls", "stats", "latch", "failure", "next_deadline_us",
            "loaded", "named",
        )  # fmt: skip
        rt = self.runtime
        for handle, state in step.get("states", {}).items():
            found = self.handles[handle].state
            expect(found == state, f"`{handle}` is {found}")
        for handle, latch in step.get("latch", {}).items():
            expect(self.handles[handle].latch == latch, f"the latch of `{handle}` is {self.handles[handle].latch}")
        for handle, parts in step.get("failure", {}).items():
            failure = self.handles[handle].failure
            fits = failure is None if parts is None else all(p in (failure or "\0") for p in texts(parts))
            expect(fits, f"the failure of `{handle}` is {failure!r}")
        for handle, stats in step.get("stats", {}).items():
            self.check_stats(handle, stats)
        if "log" in step:
            self.check_log(step["log"])
        for name, value in (("lost", rt.log_lost), ("lost_security", rt.log_lost_security), ("loaded", len(rt.modules))):
            expect(step.get(name, value) == value, f"{name} is {value}")
        if "next_deadline_us" in step:
            expect(rt.next_deadline_us == step["next_deadline_us"], f"next_deadline_us is {rt.next_deadline_us}")
        for function, calls in step.get("calls", {}).items():
            seen = self.calls.pop(function, [])
            expect(seen == calls, f"`{function}` was called {len(seen)} times: {seen}")
        for handle, name in step.get("named", {}).items():
            expect(rt.find(name) == self.handles[handle], f"`{name}` names {rt.find(name)}")

    def check_stats(self, handle: str, expected: dict[str, Any]) -> None:
        stats = self.handles[handle].stats
        for name, bound in expected.items():
            value = {
                "step_times": lambda: stats.step_time.count,
                "event_latencies": lambda: stats.event_latency.count,
                "event_latency_max_us": lambda: stats.event_latency.max_ns // 1000,
            }.get(name, lambda name=name: getattr(stats, name))()
            if not isinstance(bound, dict):
                bound = {"min": bound, "max": bound}
            fits = bound.get("min", value) <= value <= bound.get("max", value)
            expect(fits, f"`{name}` of `{handle}` is {value}")

    def check_log(self, expected: list[dict[str, Any]]) -> None:
        records = self.runtime.log_records(self.log_read)
        self.log_read = self.runtime.log_next_sequence
        shown = "".join(f"\n      {r!r}" for r in records)
        expect(len(records) == len(expected), f"the log has {len(records)} new records, not {len(expected)}:{shown}")
        sequences = [r.sequence for r in records]
        expect(sequences == sorted(set(sequences)), f"sequence numbers do not grow: {sequences}")
        for record, entry in zip(records, expected):
            only(entry, "module", "level", "source", "text", "contains", "at_us")
            module = None if record.module_id is None else self.names.get(record.module_id, f"?{record.module_id}")
            fits = (
                module == entry.get("module")
                and (record.level, record.source) == (entry["level"], entry["source"])
                and entry.get("at_us", record.timestamp_us) == record.timestamp_us
                and entry.get("text", record.text) == record.text
                and all(part in record.text for part in texts(entry.get("contains")))
            )
            expect(fits, f"record {record.sequence} does not fit {entry}:{shown}")


def damaged(data: bytes, damage: dict[str, int] | None) -> bytes:
    if not damage:
        return data
    ((kind, value),) = damage.items()
    if kind == "truncate":
        return data[:value]
    if kind == "drop":
        return data[: len(data) - value]
    if kind == "append":
        return data + bytes(value)
    bent = bytearray(data)
    if kind == "flip_bit":
        bent[value // 8] ^= 1 << value % 8
    elif kind == "flip_bit_from_end":
        bent[-1 - value // 8] ^= 0x80 >> value % 8
    else:
        raise Mismatch(f"unknown damage {kind}")
    return bytes(bent)

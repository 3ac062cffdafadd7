"""The orchestration scenarios (tests/scenarios/orchestration).

All of them are played over the REST API, on a stage that can inject faults, move time and end the process under the control
plane; those that need no more than the public interface also in this process.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import stage as stages
from conftest import REPOSITORY

import fuse_runtime as fuse

FILES = sorted((REPOSITORY / "tests" / "scenarios" / "orchestration").glob("*.json"))


class Unused(dict):  # type: ignore[type-arg]
    """A step that knows what was looked at."""

    def __init__(self, step: dict[str, Any]) -> None:
        super().__init__(step)
        self.used = {"do", "fails", "message", "why"}

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return super().get(key, default)


def equal(what: str, got: Any, want: Any) -> None:
    assert want is None or got == want, f"{what} is {got!r} and should be {want!r}"


#: What only the process that acts can do or see.
INSIDE = {"reconcile", "advance", "restart", "authenticate", "fault", "clear_faults", "cut_off", "connect", "reboot", "lose", "plant"}


class World:
    def __init__(self, plane: fuse.Orchestrator, stage: stages.Stage | None = None) -> None:
        self.plane = plane
        self.stage = stage
        self.names: dict[str, str] = {}
        self.keys: dict[str, fuse.ApiKey] = {}

    def named(self, name: str) -> str:
        return self.names.get(name, name)

    def environment(self, step: Unused) -> fuse.Environment:
        return self.plane.get(self.named(step.get("id")))

    def step(self, raw: dict[str, Any]) -> None:
        step = Unused(raw)
        fails = raw.get("fails")
        if raw["do"] in INSIDE:
            return self.inside(raw)
        try:
            getattr(self, "do_" + raw["do"])(step)
        except fuse.OrchestratorError as error:
            assert error.code == fails, f"failed with {error.code}: {error}"
            assert raw.get("message", "") in str(error), str(error)
        else:
            assert fails is None, f"did not fail with {fails}"
            assert set(raw) <= step.used, f"{set(raw) - step.used} mean nothing here"

    def inside(self, raw: dict[str, Any]) -> None:
        """A step for the stage, which knows no names of the scenario."""
        assert self.stage is not None
        step = dict(raw)
        if "id" in step:
            step["id"] = self.named(step["id"])
        if (key := step.pop("key", None)) is not None:
            step["text"] = self.keys[key].key
        self.stage.act(step)

    def settle(self, id: str) -> None:
        """On the stage boots end in virtual time."""
        if self.stage is not None:
            self.stage.act({"do": "settle", "id": id})

    def do_provision(self, step: Unused) -> None:
        request = dict(step.get("with", {}))
        if seed := request.get("seed_snapshot_id"):
            request["seed_snapshot_id"] = self.named(seed)
        name, until, key = step.get("as"), step.get("until", "running"), step.get("key")
        made = self.plane.provision(step.get("task"), idempotency_key=key, **request)
        if name:
            self.names[name] = made.vm
        if until == "running":
            self.settle(made.id)
            made.wait_running()

    def do_wait(self, step: Unused) -> None:
        environment = self.environment(step)
        self.settle(environment.id)
        environment.wait_running()

    def do_drain(self, step: Unused) -> None:
        self.environment(step).drain()

    def do_destroy(self, step: Unused) -> None:
        self.environment(step).destroy()

    def do_rotate(self, step: Unused) -> None:
        self.environment(step).rotate_token()

    def do_fork(self, step: Unused) -> None:
        reuse, name = step.get("reuse"), step.get("as")
        fork = self.environment(step).fork(**({"reuse_snapshot_id": self.named(reuse)} if reuse else {}))
        if name:
            self.names[name] = fork.id
        self.settle(fork.id)
        fork.wait_running()

    def do_exec(self, step: Unused) -> None:
        line, argv, timeout = step.get("line"), step.get("argv", []), step.get("timeout", 60)
        wanted = [step.get("exit_code", 0), step.get("stdout"), step.get("stderr")]
        result = self.environment(step).exec(*argv, shell=line, timeout_seconds=timeout)
        for what, want in zip(("exit_code", "stdout", "stderr"), wanted):
            equal(what, getattr(result, what), want)

    def do_upload(self, step: Unused) -> None:
        path, text = step.get("path"), step.get("text", "")
        self.environment(step).upload(path, text)

    def do_logs(self, step: Unused) -> None:
        source, want = step.get("source"), step.get("are")
        equal("the log", self.environment(step).logs(source), want)

    def do_check(self, step: Unused) -> None:
        fact = self.environment(step).data
        equal("the state", fact["state"], step.get("state"))
        equal("the reason", fact["reason"]["code"], step.get("reason"))
        equal("observed", fact["observed"], step.get("observed"))
        equal("the host", fact.get("host_id"), step.get("on"))
        equal("the warnings", fact.get("warnings", []), step.get("warnings"))
        equal("the boots", fact.get("boots"), step.get("boots"))
        assert step.get("text", "") in fact["reason"].get("text", ""), fact["reason"]
        if vm := step.get("vm_is"):
            equal("the VM", fact["vm"], self.named(vm))
        for phase in step.get("timed", []):
            assert fact["timings"].get(phase) is not None, f"the phase {phase} was not timed"

    def do_list(self, step: Unused) -> None:
        filters, page, want, cursor = step.get("filter", {}), step.get("page"), step.get("ids"), step.get("cursor")
        if cursor is not None:
            self.plane._calls.call("list", request={"cursor": cursor})
        equal("the list", [e.id for e in self.plane.environments(**filters, limit=page or 50)], want)

    def do_snapshot(self, step: Unused) -> None:
        name = step.get("as")
        made = self.environment(step).create_snapshot(**step.get("with", {}))
        if name:
            self.names[name] = made.id

    def snapshot(self, step: Unused) -> fuse.Snapshot:
        return self.plane.snapshot(self.named(step.get("snapshot")))

    def do_restore(self, step: Unused) -> None:
        self.snapshot(step).restore()

    def do_delete_snapshot(self, step: Unused) -> None:
        self.snapshot(step).delete()

    def do_check_snapshot(self, step: Unused) -> None:
        snapshot = self.snapshot(step)
        equal("the state", snapshot.state, step.get("state"))
        equal("the mode", snapshot.mode, step.get("mode"))
        equal("the reason", snapshot.data.get("reason", {}).get("code"), step.get("reason"))
        if parent := step.get("parent"):
            equal("the parent", snapshot.parent_snapshot_id, self.named(parent))
        lineage = step.get("lineage")
        if lineage is not None:
            equal("the lineage", [s.id for s in snapshot.lineage()], [self.named(n) for n in lineage])

    def do_snapshots(self, step: Unused) -> None:
        kept = step.get("on_hosts")
        if self.stage is not None:
            self.stage.act({"do": "snapshots", "filter": step.get("filter", {}), "on_hosts": kept})
        filters = {name: str(value) for name, value in step.get("filter", {}).items()}
        equal("the snapshots", [s.state for s in self.plane.snapshots(**filters)], step.get("states"))

    def do_register(self, step: Unused) -> None:
        fields = dict(step.get("with", {}))
        if "has" in fields and self.stage is not None:
            self.stage.act({"do": "host", "host": step.get("host"), "has": fields["has"]})
        self.register(step.get("host"), fields)

    def register(self, name: str, fields: dict[str, Any]) -> None:
        request = {k: fields[k] for k in ("region", "labels") if k in fields}
        capacity = dict(fields.get("declared", {}))
        if "arch" in fields:
            capacity["arch"] = fields["arch"]
        if capacity:
            request["capacity"] = capacity
        self.plane.register_host(name, fields.get("url", f"stub://{name}"), **request)

    def do_cordon(self, step: Unused) -> None:
        self.plane.host(step.get("host")).cordon()

    def do_uncordon(self, step: Unused) -> None:
        self.plane.host(step.get("host")).uncordon()

    def do_remove_host(self, step: Unused) -> None:
        name, force = step.get("host"), step.get("force", False)
        self.plane.host(name).remove(force=force)

    def do_check_host(self, step: Unused) -> None:
        host = self.plane.host(step.get("host"))
        vms = step.get("vms")
        if self.stage is not None:
            self.stage.act({"do": "check_host", "host": host.id, "vms": vms})
        equal("the state", host.state, step.get("state"))
        liveness = step.get("liveness")
        equal("the liveness", host.data.get("liveness", {}).get("state"), liveness)
        equal("the warnings", len(host.data.get("warnings", [])), step.get("warnings"))
        for key, want in step.get("taken", {}).items():
            equal(f"taken {key}", host.allocated[key], want)

    def do_events(self, step: Unused) -> None:
        about, last = self.named(step.get("about")), step.get("after", 0)
        newest, got = self.plane.newest_event(), []
        for event in self.plane.events(after=last) if newest > last else ():
            assert event.sequence == last + 1, f"event {event.sequence} follows event {last}"
            last = event.sequence
            if event.subject_id == about:
                got.append(event.event)
            if last >= newest:
                break
        equal("the events", got, step.get("are"))

    def do_dead_letters(self, step: Unused) -> None:
        equal("the dead letters", [letter.id for letter in self.plane.dead_letters()], step.get("are"))

    def do_retry(self, step: Unused) -> None:
        self.plane.retry_dead_letter(step.get("letter"))

    def do_dismiss(self, step: Unused) -> None:
        self.plane.dismiss_dead_letter(step.get("letter"))

    def do_create_key(self, step: Unused) -> None:
        name = step.get("as")
        self.keys[name] = self.plane.create_api_key(step.get("label", ""), step.get("scopes", []))

    def do_revoke_key(self, step: Unused) -> None:
        key = step.get("key")
        self.plane.revoke_api_key(self.keys[key].id if key in self.keys else key)


def needs(scenario: dict[str, Any]) -> str | None:
    """What the scenario needs beyond the public interface."""
    inside = sorted({step["do"] for step in scenario["steps"]} & INSIDE)
    if inside:
        return f"needs {', '.join(inside)}"
    if scenario.get("config"):
        return "needs a configuration of its own"
    registered = [step.get("with", {}) for step in scenario["steps"] if step["do"] == "register"]
    if any("has" in host for host in [*scenario.get("hosts", {}).values(), *registered]):
        return "needs hosts of other sizes"
    if "sleep 31" in json.dumps(scenario):
        return "takes a minute of real time"
    return None


SCENARIOS = {path.stem: json.loads(path.read_text()) for path in FILES}
PUBLIC = {name for name, scenario in SCENARIOS.items() if needs(scenario) is None}


def play(world: World, scenario: dict[str, Any]) -> None:
    for number, step in enumerate(scenario["steps"]):
        try:
            world.step(step)
        except AssertionError as error:
            raise AssertionError(f"step {number + 1} {json.dumps(step)}: {error}") from error


def test_enough_of_them_run() -> None:
    assert len(SCENARIOS) >= 70 and len(PUBLIC) >= 23


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_in_this_process(name: str) -> None:
    with fuse.Orchestrator.in_memory() as plane:
        world = World(plane)
        plane.host("default").remove()
        for host, fields in SCENARIOS[name].get("hosts", {}).items():
            world.register(host, fields)
        play(world, SCENARIOS[name])


@pytest.fixture(scope="module")
def stage() -> Iterator[stages.Stage]:
    if not stages.PROGRAM:
        pytest.skip("FUSE_STAGE names no stage")
    stage = stages.Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_over_rest(name: str, stage: stages.Stage) -> None:
    scenario = SCENARIOS[name]
    stage.act({"open": {"config": scenario.get("config"), "hosts": scenario.get("hosts")}})
    with fuse.Orchestrator.connect(stage.url, stage.token) as plane:
        play(World(plane, stage), scenario)

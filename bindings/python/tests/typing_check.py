"""A program that uses the stubs; mypy --strict and pyright read it, nothing runs it."""

import logging

import fuse_runtime as fuse


def host() -> list[str]:
    hal = fuse.Hal(temp=lambda: 21.5)

    @hal.camera
    def frame(max_len: int) -> bytes:
        return bytes(max_len)

    downlink = hal.group("downlink", 8)

    @downlink.function(params=["in"], result="i32")
    def downlink_write(data: bytes) -> int:
        return len(data)

    policy = fuse.Policy(capabilities=["TEMP_SENSOR"], cpu_quota_us=1000)
    with fuse.Runtime({"name": "typed", "events": {"GO": 1}}, hal=hal, logger=logging.getLogger("x")) as runtime:
        module: fuse.Module = runtime.load("m", b"", policy)
        try:
            module.run_step()
        except fuse.TrapError as error:
            print(error.code, error.failure, error.kind)
        states: list[str] = [outcome.module.state.value for outcome in runtime.tick()]
        deadline: int | None = runtime.next_deadline_us
        print(deadline, frame(1), downlink_write(b""))
        return states


def provider() -> str | None:
    with fuse.Orchestrator.open("state", provider="local", host_data="vms") as plane:
        told: fuse.Provider | None = plane.provider
        return told.why if told else None

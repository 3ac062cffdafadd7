"""What the orchestrator tells: records with the field names of the REST API."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

__all__ = ["ApiKey", "DeadLetter", "Event", "ExecResult", "Provider", "Record"]


@dataclasses.dataclass(frozen=True)
class Provider:
    """What runs the environments of a control plane in this process: its host ``default``, as it was when it was opened."""

    #: ``local`` (VMs of this machine), ``stub``, or ``remote`` (a host agent that somebody registered under this name).
    name: str
    #: The URL of that host.
    url: str
    #: Why it is the stub, or why its VMs cannot be reached; None when all is as it should be.
    why: str | None = None


class Record:
    """A record as the REST API shows it. Its fields are attributes; what is empty is left out of ``data``."""

    #: The JSON object.
    data: dict[str, Any]

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.data["id"])

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(f"this {type(self).__name__} has no {name!r}; it has {sorted(self.__dict__.get('data', {}))}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(other) is type(self) and other.data == self.data

    def __hash__(self) -> int:
        return hash((type(self), self.id))

    def __repr__(self) -> str:
        shown = ("state", "task_id", "host_id", "event", "kind", "reason")
        parts = "".join(f" {name}={self.data[name]!r}" for name in shown if name in self.data)
        return f"<{type(self).__name__} {self.data.get('id')!r}{parts}>"


class Event(Record):
    """Something that happened; or, with ``event`` ``lost``, what was missed."""

    @property
    def event(self) -> str:
        """What happened, such as ``vm.running``."""
        return str(self.data["event"])

    @property
    def sequence(self) -> int:
        """Its place in the order of all events; 0 in place of events that were lost."""
        return int(self.data.get("sequence", 0))

    @property
    def subject_id(self) -> str:
        """The name of what it happened to."""
        return str(self.data.get("subject", {}).get("id", ""))


class DeadLetter(Record):
    """What the control plane keeps failing at."""


class ApiKey(Record):
    """An API key. ``key`` is there once: when it is made."""

    @property
    def key(self) -> str | None:
        """The key itself, in the answer that made it."""
        key = self.data.get("key")
        return None if key is None else str(key)

    def __repr__(self) -> str:
        return f"<ApiKey {self.id!r} label={self.data.get('label', '')!r}>"


@dataclasses.dataclass(frozen=True)
class ExecResult:
    """How a command ended."""

    #: The exit code; 124 when it ran out of time.
    exit_code: int
    #: Its standard output; bytes that are not UTF-8 are replaced.
    stdout: str
    #: Its standard error; bytes that are not UTF-8 are replaced.
    stderr: str
    #: Its standard output as it was.
    stdout_bytes: bytes = dataclasses.field(repr=False)
    #: Its standard error as it was.
    stderr_bytes: bytes = dataclasses.field(repr=False)

    @classmethod
    def of(cls, data: dict[str, Any]) -> ExecResult:
        """Of the answer of the REST API."""

        def raw(name: str) -> bytes:
            coded = data.get(f"{name}_b64")
            return str(data[name]).encode() if coded is None else base64.b64decode(coded)

        return cls(data["exit_code"], data["stdout"], data["stderr"], raw("stdout"), raw("stderr"))

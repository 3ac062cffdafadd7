"""The orchestrator: microVM sandboxes on your own hosts, through their whole life. Every call waits.

>>> from fuse_runtime import Orchestrator
>>> with Orchestrator.in_memory() as fuse:
...     environment = fuse.provision("t1").wait_running()
...     print(environment.state, environment.exec(shell="echo hello").stdout, end="")
...     environment.destroy()
running hello
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .calls import Calls, body_of
from .records import ApiKey, DeadLetter, Event, ExecResult, Provider, Record
from .terminal import Terminal

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ApiKey", "DeadLetter", "Environment", "Event", "ExecResult", "Host", "Orchestrator", "Snapshot"]


class Orchestrator:
    """A fleet of environments, in this process or behind the REST API: the same methods, the same errors.

    It may be used from any thread, many at once. A fork takes its threads away: open another one in the child.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @classmethod
    def in_memory(cls) -> Self:
        """One whose state ends with the program, with one stub host. For trying out and for tests."""
        return cls(Calls.in_memory())

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        provider: Literal["auto", "local", "stub"] = "auto",
        host_data: str | os.PathLike[str] | None = None,
    ) -> Self:
        """One whose state is in a directory. One process at a time can have it open.

        ``provider`` says what runs environments. ``auto``: real VMs of this machine where QEMU or Firecracker and an image
        are installed, else the stub, which runs commands in memory and isolates nothing, with a ``ProviderWarning`` that says
        why. ``local``: real VMs, or ``UnavailableError`` with what is missing. ``stub``: the stub. ``host_data`` is the folder
        of this machine's VMs and images, else ``$FUSE_HOST_DATA``, else ``/var/lib/fuse-host-agent``.

        VMs outlive the process; the next one that opens the directory takes them over.
        """
        return cls(Calls.open(path, provider, host_data))

    @classmethod
    def connect(cls, url: str, token: str | None = None) -> Self:
        """The control plane that answers at a URL, asked with a bearer token: the master token or an API key."""
        return cls(Calls.connect(url, token))

    @property
    def provider(self) -> Provider | None:
        """What runs its environments; None behind the REST API, where that is the server's affair."""
        return self._calls.provider

    def close(self) -> None:
        """Ends the work of a control plane in this process; one behind the REST API goes on."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def check(self, limit_seconds: float = 10.0) -> None:
        """Asks whether the control plane can act."""
        self._calls.call("check", limit_seconds=limit_seconds)

    def provision(self, task_id: str, *, idempotency_key: str | None = None, **fields: Any) -> Environment:
        """Asks for an environment, which comes up in the background.

        ``fields`` are those of ``POST /v1/environments``: ``spec``, ``agent``, ``secrets``, ``startup_script``, ``expose``,
        ``healthcheck``, ``files`` (bytes or text by path), ``seed_snapshot_id``, … and ``manifest``, an object.
        """
        request = body_of({"task_id": task_id, **fields})
        return Environment(self, self._calls.call("provision", request=request, idempotency_key=idempotency_key))

    def get(self, id: str) -> Environment:
        """The environment of this name."""
        return Environment(self, self._calls.call("get", id=id))

    def environments(self, *, task_id: str = "", state: str = "", host_id: str = "", limit: int = 200) -> Iterator[Environment]:
        """All environments that pass the filters, by id; ended ones only when ``state`` says so. ``limit`` is the page's."""
        query = {"task_id": task_id, "state": state, "host_id": host_id, "limit": str(limit)}
        while True:
            page = self._calls.call("list", request=query)
            for environment in page["environments"]:
                yield Environment(self, environment)
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    def snapshot(self, id: str) -> Snapshot:
        """The snapshot of this name."""
        return Snapshot(self, self._calls.call("snapshot", id=id))

    def snapshots(self, *, limit: int = 200, **filters: str) -> Iterator[Snapshot]:
        """All snapshots that pass the filters of ``GET /v1/snapshots``, newest first."""
        query = {**filters, "limit": str(limit)}
        while True:
            page = self._calls.call("snapshots", request=query)
            for snapshot in page["snapshots"]:
                yield Snapshot(self, snapshot)
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    def resolve_snapshot(self, layer_key: str, arch: str) -> Snapshot | None:
        """The newest ready snapshot of a layer of a build, for an architecture (``amd64``, ``arm64``); None without one."""
        found = self._calls.call("resolve_snapshot", layer_key=layer_key, arch=arch)
        return None if found is None else Snapshot(self, found)

    def register_host(self, id: str, url: str, **fields: Any) -> Host:
        """Adds a host, or says something new of one. ``fields`` are those of ``POST /v1/hosts``."""
        return Host(self, self._calls.call("register_host", request={"id": id, "url": url, **fields}))

    def host(self, id: str) -> Host:
        """The host of this name."""
        return Host(self, self._calls.call("host", id=id))

    def hosts(self, *, limit: int = 200) -> Iterator[Host]:
        """All hosts, by id."""
        query = {"limit": str(limit)}
        while True:
            page = self._calls.call("hosts", request=query)
            for host in page["hosts"]:
                yield Host(self, host)
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    def drain_host(self, id: str, limit_seconds: float | None = None) -> dict[str, Any]:
        """Empties a host in the background: cordons it, drains its environments, and destroys each when its drain has ended
        or the limit is over. Returns how that goes; ``Host.uncordon`` takes the order back."""
        return dict(self._calls.call("drain_host", id=id, limit_seconds=limit_seconds))

    def host_drain(self, id: str) -> dict[str, Any] | None:
        """How the emptying of a host goes: ``environments`` it had, ``left``, ``finished_at``; None when nobody asked."""
        progress = self._calls.call("host_drain", id=id)
        return None if progress is None else dict(progress)

    def events(self, *, after: int | None = None, subject_kind: str = "", subject_id: str = "") -> Iterator[Event]:
        """Events as they happen, from those after a number on, or from now on. It ends with the control plane."""
        query = {"subject_kind": subject_kind, "subject_id": subject_id}
        if after is not None:
            query["after"] = str(after)
        frames = self._calls.stream("events", **query)
        for frame in frames:
            yield Event(json.loads(frame))

    def newest_event(self) -> int:
        """The number of the newest event; 0 when there is none."""
        return int(self._calls.call("newest_event"))

    def create_api_key(self, label: str = "", scopes: Sequence[str] = ()) -> ApiKey:
        """Makes a key with some of the scopes read, write, admin. Only this answer has the key itself."""
        return ApiKey(self._calls.call("create_api_key", request={"label": label, "scopes": list(scopes)}))

    def api_keys(self) -> list[ApiKey]:
        """All keys, newest first, revoked ones too."""
        return [ApiKey(key) for key in (self._calls.call("api_keys"))["api_keys"]]

    def revoke_api_key(self, id: str) -> None:
        """Makes a key useless, for ever."""
        self._calls.call("revoke_api_key", id=id)

    def dead_letters(self) -> list[DeadLetter]:
        """What the control plane keeps failing at."""
        return [DeadLetter(letter) for letter in (self._calls.call("dead_letters"))["dead_letters"]]

    def retry_dead_letter(self, id: str) -> None:
        """Tries again now."""
        self._calls.call("retry_dead_letter", id=id)

    def dismiss_dead_letter(self, id: str) -> None:
        """Takes it away."""
        self._calls.call("dismiss_dead_letter", id=id)

    def __repr__(self) -> str:
        return "<Orchestrator behind the REST API>" if self.provider is None else f"<Orchestrator on {self.provider.url}>"


class Owned(Record):
    """A record that its orchestrator can act on."""

    def __init__(self, fuse: Orchestrator, data: dict[str, Any]) -> None:
        super().__init__(data)
        self._fuse = fuse

    @property
    def state(self) -> str:
        """Where it stands, as of when this object was last refreshed."""
        return str(self.data["state"])

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._fuse._calls.call(name, id=self.id, **arguments)


class Environment(Owned):
    """One sandbox and its task. Its attributes are the fields of the REST API, as of the last call."""

    @property
    def task_id(self) -> str:
        """The task that it works on; empty once it is being destroyed."""
        return str(self.data.get("task_id", ""))

    @property
    def host_id(self) -> str:
        """The host that it was placed on."""
        return str(self.data.get("host_id", ""))

    @property
    def url(self) -> str:
        """Where its agent is reached; empty until it runs."""
        return str(self.data.get("url", ""))

    def refresh(self) -> Self:
        """Looks again, and returns itself."""
        self.data = self._call("get")
        return self

    def wait_running(self, limit_seconds: float = 600.0) -> Self:
        """Waits until it runs, and returns itself. ``UnavailableError`` when that takes longer: it goes on."""
        self.data = self._call("wait_running", limit_seconds=limit_seconds)
        return self

    def exec(self, *cmd: str, shell: str | None = None, timeout_seconds: float = 60.0) -> ExecResult:
        """Runs a program with arguments, or a command line for ``sh -lc``, whatever its exit code."""
        request: dict[str, Any] = {"timeout_ms": max(1, round(timeout_seconds * 1000))}
        if cmd:
            request["cmd"] = list(cmd)
        if shell is not None:
            request["shell"] = shell
        return ExecResult.of(self._call("exec", request=request))

    def attach(self, *cmd: str, rows: int = 24, cols: int = 80) -> Terminal:
        """Runs a program with arguments, or a login shell, with a terminal of this size. While it is open the environment
        counts as used."""
        return self._fuse._calls.attach(id=self.id, cmd=cmd, rows=rows, cols=cols)

    def upload(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Writes a file in the guest."""
        raw = content.encode() if isinstance(content, str) else content
        self._fuse._calls.upload(self.id, path, mode, raw)

    def logs(self, source: str = "console") -> str:
        """The end of a log: ``console``, ``startup`` or ``agent``. It is there after the environment has ended too."""
        return str(self._call("logs", source=source))

    def follow_logs(self, source: str = "console") -> Iterator[str]:
        """The end of a log, and then what is written from now on, until the environment ends."""
        pieces = self._fuse._calls.stream("logs", id=self.id, source=source)
        for piece in pieces:
            yield piece

    def events(self, *, after: int | None = None) -> Iterator[Event]:
        """What happens to it, from now on or after a number."""
        for event in self._fuse.events(after=after, subject_kind="environment", subject_id=self.id):
            yield event

    def drain(self) -> Self:
        """Tells it to end its work, and returns itself."""
        self.data = self._call("drain")
        return self

    def destroy(self) -> None:
        """Destroys it, whatever it is doing."""
        self._call("destroy")

    def rotate_token(self) -> None:
        """Gives its agent new credentials; the old ones are refused from now on."""
        self._call("rotate_token")

    def fork(self, **fields: Any) -> Environment:
        """A new environment that begins with this one's disk, and comes up in the background."""
        return Environment(self._fuse, self._call("fork", request=fields))

    def create_snapshot(self, *, metadata: Mapping[str, str] | None = None, **fields: Any) -> Snapshot:
        """Keeps its disk. ``fields`` are those of ``POST /v1/environments/{id}/snapshots``: ``comment``, ``mode``, …"""
        request = {**fields, **({"metadata": dict(metadata)} if metadata else {})}
        return Snapshot(self._fuse, self._call("create_snapshot", request=request))


class Snapshot(Owned):
    """A kept disk."""

    def refresh(self) -> Self:
        """Looks again, and returns itself."""
        self.data = self._call("snapshot")
        return self

    def restore(self) -> None:
        """Sets its environment back to it."""
        self._call("restore_snapshot")

    def delete(self) -> None:
        """Removes it."""
        self._call("delete_snapshot")

    def lineage(self) -> list[Snapshot]:
        """The snapshots that it came of, the nearest first."""
        return [Snapshot(self._fuse, data) for data in (self._call("lineage"))["snapshots"]]


class Host(Owned):
    """A machine that runs environments. Its token is never shown."""

    def refresh(self) -> Self:
        """Looks again, and returns itself."""
        self.data = self._call("host")
        return self

    def cordon(self) -> None:
        """No new environments go there."""
        self._call("cordon")

    def uncordon(self) -> None:
        """New environments may go there again."""
        self._call("uncordon")

    def remove(self, *, force: bool = False) -> None:
        """Takes it out of the fleet; with ``force`` whatever it holds."""
        self._call("remove_host", force=force)

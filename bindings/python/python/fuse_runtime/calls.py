"""How calls of the orchestrator are made: waiting, or awaited."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from ._awaiting import awaited
from ._fuse import Plane, Stream
from .errors import ProviderWarning
from .records import Provider
from .terminal import AsyncTerminal, Terminal

__all__ = ["AsyncCalls", "AsyncPieces", "Calls", "Pieces", "body_of"]


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request body: files may be bytes or text, and the manifest an object."""
    body = {name: value for name, value in fields.items() if value is not None}
    if "files" in body:
        coded = {path: _base64(content) for path, content in body["files"].items()}
        body["files"] = coded
    if "manifest" in body:
        body["manifest_inline"] = _base64(json.dumps(body.pop("manifest")))
    return body


def _base64(content: str | bytes) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def _read(text: str | None) -> Any:
    return json.loads(text) if text else None


def _provider_of(plane: Plane) -> Provider | None:
    """What runs the environments of a plane that was just opened; warns when that is not what a program would expect."""
    told = _read(plane.provider)
    if told is None:
        return None
    if "warning" in told:
        try:
            warnings.warn(told["warning"], ProviderWarning, stacklevel=_depth())
        except ProviderWarning:
            # The program has warnings be errors.
            plane.close()
            raise
    return Provider(told["name"], told["url"], told.get("why"))


def _depth() -> int:
    """How far up the first frame is that is not of this package, counted from the caller."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fuse_runtime."):
        frame, depth = frame.f_back, depth + 1
    return depth


class Calls:
    """Calls that wait, with the interpreter lock released; Ctrl-C ends the wait."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.provider = _provider_of(plane)

    def call(self, name: str, **arguments: Any) -> Any:
        return _read(self._plane.call(name, json.dumps(arguments)))

    def upload(self, id: str, path: str, mode: int, content: bytes) -> None:
        self._plane.upload(id, path, mode, content)

    def stream(self, name: str, **arguments: Any) -> Pieces:
        return Pieces(self._plane.stream(name, json.dumps(arguments)))

    def attach(self, **arguments: Any) -> Terminal:
        return Terminal(self._plane.attach(json.dumps(arguments)))

    def close(self) -> None:
        self._plane.close()

    @classmethod
    def in_memory(cls) -> Calls:
        return cls(Plane.in_memory())

    @classmethod
    def open(cls, path: str | os.PathLike[str], provider: str, host_data: str | os.PathLike[str] | None) -> Calls:
        return cls(Plane.open(path, provider, host_data))

    @classmethod
    def connect(cls, url: str, token: str | None) -> Calls:
        return cls(Plane.connect(url, token))


class Pieces:
    """A stream, piece by piece."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> str:
        piece = self._stream.next()
        if piece is None:
            raise StopIteration
        return piece


class AsyncCalls:
    """Calls that are awaited."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.provider = _provider_of(plane)

    async def call(self, name: str, **arguments: Any) -> Any:
        text = json.dumps(arguments)
        return _read(await awaited(lambda done: self._plane.begin(name, text, done)))

    async def upload(self, id: str, path: str, mode: int, content: bytes) -> None:
        await awaited(lambda done: self._plane.begin_upload(id, path, mode, content, done))

    async def stream(self, name: str, **arguments: Any) -> AsyncPieces:
        return AsyncPieces(self._plane.stream(name, json.dumps(arguments)))

    async def attach(self, **arguments: Any) -> AsyncTerminal:
        text = json.dumps(arguments)
        return AsyncTerminal(await awaited(lambda done: self._plane.begin_attach(text, done)))

    async def close(self) -> None:
        await asyncio.to_thread(self._plane.close)

    @classmethod
    async def in_memory(cls) -> AsyncCalls:
        return cls(await asyncio.to_thread(Plane.in_memory))

    @classmethod
    async def open(cls, path: str | os.PathLike[str], provider: str, host_data: str | os.PathLike[str] | None) -> AsyncCalls:
        return cls(await asyncio.to_thread(Plane.open, path, provider, host_data))

    @classmethod
    async def connect(cls, url: str, token: str | None) -> AsyncCalls:
        return cls(await asyncio.to_thread(Plane.connect, url, token))


class AsyncPieces:
    """A stream, piece by piece, awaited."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncPieces:
        return self

    async def __anext__(self) -> str:
        piece = await awaited(self._stream.begin)
        if piece is None:
            raise StopAsyncIteration
        text: str = piece
        return text

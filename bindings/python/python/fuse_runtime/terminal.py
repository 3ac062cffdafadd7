"""Terminals in environments, as `Environment.attach` opens them.

>>> from fuse_runtime import Orchestrator
>>> with Orchestrator.in_memory() as fuse:
...     environment = fuse.provision("t1").wait_running()
...     with environment.attach() as terminal:
...         terminal.write("echo hello\\nexit 3\\n")
...         shown = b"".join(terminal)
...     print(shown, terminal.exit_code)
b'hello\\n' 3
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from . import _fuse
from ._awaiting import awaited

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncTerminal", "Terminal"]


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


class Terminal(Iterator[bytes]):
    """A program in an environment with a terminal. Iterating gives what it shows, until it ends.

    One thread may type while another reads. Closing it takes the terminal away from the program.
    """

    def __init__(self, native: _fuse.Terminal) -> None:
        self._native = native

    def read(self) -> bytes:
        """What the program shows next, as soon as there is some; empty once it has ended or the terminal was closed.
        ``UnavailableError`` when the connection broke off: the program may still run."""
        return self._native.read() or b""

    def __next__(self) -> bytes:
        shown = self._native.read()
        if shown is None:
            raise StopIteration
        return shown

    def write(self, data: str | bytes) -> None:
        """Types something. Waits while the guest does not read; ``UnavailableError`` when the program has ended."""
        self._native.write(_bytes(data))

    def resize(self, rows: int, cols: int) -> None:
        """Tells a new size, 1 to 65535 rows and columns."""
        self._native.resize(rows, cols)

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, once a read has come to the end; None before, and when it was closed."""
        return self._native.exit_code

    def close(self) -> None:
        """Closes it; a read that waits ends. Twice does nothing."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Terminal exit_code={self.exit_code}>"


class AsyncTerminal(AsyncIterator[bytes]):
    """A program in an environment with a terminal, awaited. Iterating gives what it shows, until it ends."""

    def __init__(self, native: _fuse.Terminal) -> None:
        self._native = native
        self._reading: asyncio.Future[bytes | None] | None = None

    async def _next(self) -> bytes | None:
        # A read whose wait was cancelled goes on: what it gets is for the next one.
        if self._reading is None:
            self._reading = asyncio.ensure_future(awaited(self._native.begin_read))
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    async def read(self) -> bytes:
        """What the program shows next, as soon as there is some; empty once it has ended or the terminal was closed.
        ``UnavailableError`` when the connection broke off: the program may still run."""
        return await self._next() or b""

    async def __anext__(self) -> bytes:
        shown = await self._next()
        if shown is None:
            raise StopAsyncIteration
        return shown

    async def write(self, data: str | bytes) -> None:
        """Types something. Waits while the guest does not read; ``UnavailableError`` when the program has ended."""
        raw = _bytes(data)
        await awaited(lambda done: self._native.begin_write(raw, done))

    async def resize(self, rows: int, cols: int) -> None:
        """Tells a new size, 1 to 65535 rows and columns."""
        await awaited(lambda done: self._native.begin_resize(rows, cols, done))

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, once a read has come to the end; None before, and when it was closed."""
        return self._native.exit_code

    async def close(self) -> None:
        """Closes it; a read that waits ends. Twice does nothing."""
        self._native.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._native.close()

    def __repr__(self) -> str:
        return f"<AsyncTerminal exit_code={self.exit_code}>"

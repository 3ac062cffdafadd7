"""Calls that are under way on threads of the library, awaited on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._fuse import Pending
from .errors import orchestrator_error

__all__ = ["awaited"]


async def awaited(begin: Callable[[Callable[[bool, Any], None]], Pending]) -> Any:
    """Begins a call and waits for it on the running event loop. Cancelling abandons the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish(ok: bool, answer: Any) -> None:
        if future.done():
            return
        if ok:
            future.set_result(answer)
        else:
            future.set_exception(orchestrator_error(answer or ""))

    def done(ok: bool, answer: Any) -> None:
        try:
            loop.call_soon_threadsafe(finish, ok, answer)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    pending = begin(done)
    try:
        return await future
    finally:
        pending.cancel()

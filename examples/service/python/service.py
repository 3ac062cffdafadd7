"""A web service that hands each request to a module under policy: `uvicorn service:app`, then `curl -d hello localhost:8000/shout`.

What a module does wrong ends its step: the caller gets 500 and the module begins anew, with fresh memory.
"""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException, Request, Response

import fuse_runtime as fuse

MODULE = pathlib.Path(__file__).resolve().parents[1] / "modules" / "shout.wat"
BODY_BYTES_MAX = 65_536


class Shout:
    """The module, and the request that it works on. One request at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.request, self.response = b"", b""
        http = fuse.HalGroup("http", 8)
        http.add("request_read", ["out"], "i32", self.read).add("response_write", ["in"], None, self.write)
        self.runtime = fuse.Runtime(hal=fuse.Hal(groups=[http]))
        policy = fuse.Policy(capabilities=http.capability, cpu_quota_us=50_000, activation="MANUAL")
        self.module = self.runtime.load_file("shout", MODULE, policy)
        self.module.start()

    def read(self, buffer: bytearray) -> int:
        buffer[: len(self.request)] = self.request
        return len(self.request)

    def write(self, text: bytes) -> None:
        self.response = text

    def answer(self, request: bytes) -> bytes:
        with self.lock:
            self.request, self.response = request, b""
            try:
                self.module.run_step()
            except fuse.ModuleFailedError:
                self.module.restart()
                raise
            return self.response


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.shout = Shout()
    with app.state.shout.runtime:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/shout")
async def shout(request: Request) -> Response:
    from starlette.concurrency import run_in_threadpool

    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise HTTPException(413, f"at most {BODY_BYTES_MAX} bytes")
    try:
        # A step blocks its thread and not the interpreter: other requests go on.
        return Response(await run_in_threadpool(app.state.shout.answer, body), media_type="text/plain")
    except fuse.ModuleFailedError as error:
        raise HTTPException(500, type(error).__name__) from error

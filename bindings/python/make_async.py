"""Writes `orchestrator_async.py` from `orchestrator.py`: the same calls, awaited. With `--check` it only compares."""

from __future__ import annotations

import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).parent / "python" / "fuse_runtime"
SOURCE, TARGET = FOLDER / "orchestrator.py", FOLDER / "orchestrator_async.py"
HEAD = '''"""The orchestrator with asyncio: every call is awaited. Written by make_async.py from orchestrator.py.

>>> import asyncio
>>> from fuse_runtime import AsyncOrchestrator
>>> async def main() -> None:
...     async with await AsyncOrchestrator.in_memory() as fuse:
...         environment = await (await fuse.provision("t1")).wait_running()
...         print((await environment.exec(shell="echo hello")).stdout, end="")
>>> asyncio.run(main())
hello
"""
'''


def awaited(text: str) -> str:
    """The text with every call awaited."""
    text = HEAD + text.split('"""\n', 1)[1]
    for name in ("Orchestrator", "Environment", "Snapshot", "Host", "Terminal"):
        text = re.sub(rf"(?<![\w.]){name}(?!\w)(?!Error)", f"Async{name}", text)
    text = text.replace("Calls", "AsyncCalls").replace("Iterator", "AsyncIterator")
    text = text.replace("__enter__", "__aenter__").replace("__exit__", "__aexit__")
    plain = {"__init__", "__repr__", "state", "task_id", "host_id", "url", "provider"}
    text = re.sub(r"^(    )def (\w+)", lambda m: m[0] if m[2] in plain else f"{m[1]}async def {m[2]}", text, flags=re.M)
    text = re.sub(r"(?<!await )((?:self\._fuse\._calls|self\._calls|AsyncCalls)\.\w+\()", r"await \1", text)
    text = re.sub(r"(?<!await )(self\._call\()", r"await \1", text)
    text = text.replace("self.close()", "await self.close()")
    text = re.sub(r"^( +)for (\w+) in (frames|pieces|self\._fuse\.events)", r"\1async for \2 in \3", text, flags=re.M)
    return text


if __name__ == "__main__":
    written = awaited(SOURCE.read_text())
    if "--check" in sys.argv:
        if TARGET.read_text() != written:
            sys.exit("orchestrator_async.py is not what make_async.py writes; run it")
    else:
        TARGET.write_text(written)

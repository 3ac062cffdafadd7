"""The server, for tests of what is connected to it: the program is named by FUSE_PROGRAM."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterator

PROGRAM = os.environ.get("FUSE_PROGRAM", "")
_running: list[subprocess.Popen[str]] = []


def kill() -> None:
    """Ends the server that was started last, without a word."""
    _running[-1].kill()


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """A server with nothing in it, for as long as it is needed: its URL and its token."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ORCH_AUTH_TOKEN": token, "FUSE_DATA_DIR": folder}
        command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--provider", "stub"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            _running.append(server)
            try:
                lines: list[str] = []
                for line in server.stderr:
                    lines.append(line)
                    if found := re.search(r"listening on (http:\S+)", line):
                        break
                else:
                    raise RuntimeError("the server did not start:\n" + "".join(lines))
                # What it goes on to say is read, so that it never waits for a reader.
                threading.Thread(target=server.stderr.read, daemon=True).start()
                yield found[1].rstrip(","), token
            finally:
                _running.remove(server)
                server.terminate()

"""The stage of the orchestration scenarios: a control plane in virtual time behind the REST API, with a say in what goes wrong
there. The program is named by FUSE_STAGE (bindings/calls/examples/stage.rs)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

PROGRAM = os.environ.get("FUSE_STAGE", "")


class Stage:
    """The program, for as many scenarios as wanted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self._read()
        self.url, self.token = hello["url"], hello["token"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the stage ended with {self._process.wait()}"
        return dict(json.loads(line))

    def act(self, step: Mapping[str, Any]) -> None:
        """Makes it do something; what goes wrong is an AssertionError."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        why = self._read().get("why")
        assert why is None, why

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

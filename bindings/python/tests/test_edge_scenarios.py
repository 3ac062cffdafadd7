"""Every edge scenario, as a native artifact and as one for the interpreter."""

from __future__ import annotations

import pytest
from edge_scenarios import FOLDER, Runner

FILES = sorted(FOLDER.glob("*.json"))


def test_the_scenarios_are_there() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("target", [None, "pulley64"], ids=["native", "pulley64"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_edge_scenario(path, target) -> None:
    Runner(path, target).play()

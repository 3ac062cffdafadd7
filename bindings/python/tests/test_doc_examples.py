"""The examples in the documentation of the native classes."""

from __future__ import annotations

import doctest

import pytest

import fuse_runtime as fuse
from fuse_runtime import _fuse

OBJECTS = [getattr(_fuse, name) for name in dir(_fuse) if not name.startswith("_")]
EXAMPLES = [
    test
    for found in OBJECTS
    if callable(found)
    for test in doctest.DocTestFinder().find(found, found.__name__, module=False, globs=vars(fuse).copy())
    if test.examples
]


def test_there_are_some() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_example(example: doctest.DocTest) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example).failed == 0


def test_everything_public_has_a_docstring() -> None:
    for name in fuse.__all__:
        found = getattr(fuse, name)
        if isinstance(found, (int, str)):
            continue
        assert found.__doc__, name
        members = (m for m in vars(found) if not m.startswith("_")) if isinstance(found, type) else ()
        for member in members:
            value = vars(found)[member]
            if callable(value) or isinstance(value, property) or "getset" in type(value).__name__:
                assert getattr(value, "__doc__", None), f"{name}.{member}"

"""What the tests share."""

from __future__ import annotations

import pathlib

import pytest
import server

import fuse_runtime as fuse

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]

STEP = '(module (func (export "module_step")))'
LOOP = '(module (func (export "module_step") (loop $again (br $again))))'
TRAP = '(module (func (export "module_step") unreachable))'
TEMP = """(module
  (import "env" "temp_get_reading" (func $read (result f32)))
  (memory (export "memory") 1)
  (func (export "module_step") (f32.store (i32.const 0) (call $read))))"""
CAMERA = """(module
  (import "env" "camera_last_frame" (func $frame (param i32 i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "module_step") (i64.store (i32.const 0) (call $frame (i32.const 8) (i32.const 1024)))))"""
LOGGER = """(module
  (import "env" "module_log_event" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello")
  (func (export "module_step") (call $log (i32.const 0) (i32.const 5) (i32.const 1))))"""


@pytest.fixture
def runtime():
    with fuse.Runtime() as runtime:
        yield runtime


@pytest.fixture(params=["here", "there"])
def plane(request):
    """In this process, and behind the REST API: the same in both."""
    if request.param == "here":
        with fuse.Orchestrator.in_memory() as plane:
            yield plane
        return
    if not server.PROGRAM:
        pytest.skip("FUSE_PROGRAM names no server")
    with server.serving() as (url, token), fuse.Orchestrator.connect(url, token) as plane:
        yield plane


def started(runtime: fuse.Runtime, source: str, **policy: object) -> fuse.Module:
    """A module that runs."""
    module = runtime.load(f"m{len(runtime.modules)}", source, fuse.Policy(**policy))  # type: ignore[arg-type]
    module.start()
    return module

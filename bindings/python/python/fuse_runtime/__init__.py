"""Fuse runs code that you do not trust, next to code that must not fail.

WebAssembly modules, each under a policy that a person can review, stepped by the host:

>>> import fuse_runtime as fuse
>>> with fuse.Runtime(hal=fuse.Hal(temp=lambda: 21.5)) as runtime:
...     thermometer = runtime.load(
...         "thermometer",
...         '''(module
...              (import "env" "temp_get_reading" (func $read (result f32)))
...              (func (export "module_step") (drop (call $read))))''',
...         fuse.Policy(capabilities=["TEMP_SENSOR"], cpu_quota_us=1000),
...     )
...     thermometer.start()
...     runtime.tick()
TickReport(ran=1, failed=0)
"""

from __future__ import annotations

from ._fuse import (
    ENGINE_VERSION,
    HAL_RAISED,
    HAL_RESULT_MISMATCH,
    AppConfig,
    Application,
    Artifact,
    EventPoster,
    Histogram,
    LogRecord,
    ManualClock,
    Module,
    ModuleDecl,
    ModuleStats,
    Policy,
    Runtime,
    StepOutcome,
    TickReport,
    __version__,
    compile,
    inspect,
)
from .errors import (
    BufferTooSmallError,
    EdgeError,
    FuseError,
    HalFault,
    HalTypeError,
    IntervalNotElapsedError,
    InvalidArgError,
    LoadFailedError,
    ModuleFailedError,
    ModuleLimitError,
    NotFoundError,
    OutOfMemoryError,
    PolicyViolationError,
    QuotaExceededError,
    TrapError,
    WrongStateError,
)
from .hal import Hal, HalGroup
from .names import Activation, Capability, ErrorKind, ModuleState

__all__ = [
    "ENGINE_VERSION",
    "HAL_RAISED",
    "HAL_RESULT_MISMATCH",
    "Activation",
    "AppConfig",
    "Application",
    "Artifact",
    "BufferTooSmallError",
    "Capability",
    "EdgeError",
    "ErrorKind",
    "EventPoster",
    "FuseError",
    "Hal",
    "HalFault",
    "HalGroup",
    "HalTypeError",
    "Histogram",
    "IntervalNotElapsedError",
    "InvalidArgError",
    "LoadFailedError",
    "LogRecord",
    "ManualClock",
    "Module",
    "ModuleDecl",
    "ModuleFailedError",
    "ModuleLimitError",
    "ModuleState",
    "ModuleStats",
    "NotFoundError",
    "OutOfMemoryError",
    "Policy",
    "PolicyViolationError",
    "QuotaExceededError",
    "Runtime",
    "StepOutcome",
    "TickReport",
    "TrapError",
    "WrongStateError",
    "__version__",
    "compile",
    "inspect",
]

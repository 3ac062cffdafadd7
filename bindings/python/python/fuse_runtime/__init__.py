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
    ConflictError,
    EdgeError,
    ForbiddenError,
    FuseError,
    HalFault,
    HalTypeError,
    InternalError,
    IntervalNotElapsedError,
    InvalidArgError,
    InvalidRequestError,
    LoadFailedError,
    ModuleFailedError,
    ModuleLimitError,
    NotFoundError,
    OrchestratorError,
    OutOfMemoryError,
    PayloadTooLargeError,
    PolicyViolationError,
    ProviderWarning,
    QuotaExceededError,
    RateLimitedError,
    RecordNotFoundError,
    TrapError,
    UnauthorizedError,
    UnavailableError,
    UnimplementedError,
    WrongStateError,
)
from .hal import Hal, HalGroup
from .orchestrator import ApiKey, DeadLetter, Environment, Event, ExecResult, Host, Orchestrator, Snapshot
from .orchestrator_async import AsyncEnvironment, AsyncHost, AsyncOrchestrator, AsyncSnapshot
from .terminal import AsyncTerminal, Terminal
from .records import Provider
from .names import Activation, Capability, ErrorKind, ModuleState

__all__ = [
    "Activation",
    "ApiKey",
    "AppConfig",
    "Application",
    "Artifact",
    "AsyncEnvironment",
    "AsyncHost",
    "AsyncOrchestrator",
    "AsyncSnapshot",
    "AsyncTerminal",
    "BufferTooSmallError",
    "Capability",
    "ConflictError",
    "DeadLetter",
    "ENGINE_VERSION",
    "EdgeError",
    "Environment",
    "ErrorKind",
    "Event",
    "EventPoster",
    "ExecResult",
    "ForbiddenError",
    "FuseError",
    "HAL_RAISED",
    "HAL_RESULT_MISMATCH",
    "Hal",
    "HalFault",
    "HalGroup",
    "HalTypeError",
    "Histogram",
    "Host",
    "InternalError",
    "IntervalNotElapsedError",
    "InvalidArgError",
    "InvalidRequestError",
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
    "Orchestrator",
    "OrchestratorError",
    "OutOfMemoryError",
    "PayloadTooLargeError",
    "Policy",
    "PolicyViolationError",
    "Provider",
    "ProviderWarning",
    "QuotaExceededError",
    "RateLimitedError",
    "RecordNotFoundError",
    "Runtime",
    "Snapshot",
    "StepOutcome",
    "Terminal",
    "TickReport",
    "TrapError",
    "UnauthorizedError",
    "UnavailableError",
    "UnimplementedError",
    "WrongStateError",
    "__version__",
    "compile",
    "inspect",
]

"""The exceptions: one class for each kind of error of the core, below :class:`FuseError`.

>>> from fuse_runtime import Runtime, NotFoundError
>>> with Runtime() as runtime:
...     try:
...         runtime.find("nobody")
...     except NotFoundError as error:
...         print(error)
no module named `nobody` is loaded
"""

from __future__ import annotations

import json
from typing import ClassVar

from .names import ErrorKind

__all__ = [
    "BufferTooSmallError",
    "ConflictError",
    "EdgeError",
    "ForbiddenError",
    "FuseError",
    "HalFault",
    "HalTypeError",
    "InternalError",
    "IntervalNotElapsedError",
    "InvalidArgError",
    "InvalidRequestError",
    "LoadFailedError",
    "ModuleFailedError",
    "ModuleLimitError",
    "NotFoundError",
    "OrchestratorError",
    "OutOfMemoryError",
    "PayloadTooLargeError",
    "PolicyViolationError",
    "ProviderWarning",
    "QuotaExceededError",
    "RateLimitedError",
    "RecordNotFoundError",
    "TrapError",
    "UnauthorizedError",
    "UnavailableError",
    "UnimplementedError",
    "WrongStateError",
]


class FuseError(Exception):
    """Everything that Fuse raises. The message says what was tried, on what, why it failed and what helps."""


class EdgeError(FuseError):
    """An error of the edge runtime."""

    #: The class of the error, as every language knows it.
    kind: ClassVar[ErrorKind]


class InvalidArgError(EdgeError, ValueError):
    """An argument, a policy or a configuration is not valid."""

    kind = ErrorKind.InvalidArg
    #: JSON path of what is wrong, such as ``$.modules[0].policy.stack_size``, where there is one.
    path: str | None = None


class NotFoundError(EdgeError, LookupError):
    """No module has this id or name. Ids are never used twice, so a stale one ends here."""

    kind = ErrorKind.NotFound


class ModuleLimitError(EdgeError):
    """The runtime already holds ``max_modules`` modules."""

    kind = ErrorKind.ModuleLimit


class LoadFailedError(EdgeError):
    """The artifact was refused; nothing was changed."""

    kind = ErrorKind.LoadFailed


class ModuleFailedError(EdgeError):
    """Guest code ended early. When a HAL callback raised, that is the ``__cause__``."""

    #: The module's name.
    module: str
    #: What was running, such as ``module_step``.
    entry: str
    #: Why it ended.
    failure: str


class PolicyViolationError(ModuleFailedError):
    """The module called what its policy does not allow. It is now Trapped."""

    kind = ErrorKind.PolicyViolation


class QuotaExceededError(ModuleFailedError):
    """The module used up its CPU or fuel quota. It is now QuotaExceeded."""

    kind = ErrorKind.QuotaExceeded


class TrapError(ModuleFailedError):
    """The module trapped, or a HAL callback failed under it. It is now Trapped."""

    kind = ErrorKind.Trap
    #: The code of the callback that failed, where one did.
    code: int | None = None


class IntervalNotElapsedError(EdgeError):
    """The module's ``step_interval_us`` has not passed since its last successful step."""

    kind = ErrorKind.IntervalNotElapsed
    #: How long until it is due, in microseconds.
    remaining_us: int = 0


class WrongStateError(EdgeError, RuntimeError):
    """The call is not legal in the state of the module or the runtime: closed, stopped, inside a call, forked."""

    kind = ErrorKind.WrongState


class BufferTooSmallError(EdgeError):
    """The caller's buffer is too small for the answer."""

    kind = ErrorKind.BufferTooSmall


class OutOfMemoryError(EdgeError, MemoryError):
    """The memory that was set aside for the runtime does not suffice; nothing was changed."""

    kind = ErrorKind.OutOfMemory


class HalFault(Exception):
    """Raised by a HAL callback to fail with a code of its own: the module that called it traps with that code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"HAL callback failed with code {code}")
        #: The host's own number for what went wrong, a signed 32-bit integer.
        self.code = code


class HalTypeError(TypeError):
    """A HAL callback returned another type than its signature says; the cause of the :class:`TrapError`."""


_EDGE: tuple[type[EdgeError], ...] = (
    InvalidArgError,
    NotFoundError,
    ModuleLimitError,
    LoadFailedError,
    PolicyViolationError,
    QuotaExceededError,
    TrapError,
    IntervalNotElapsedError,
    WrongStateError,
    BufferTooSmallError,
    OutOfMemoryError,
)

#: The exception of each kind, by the kind's name.
EDGE_ERRORS: dict[str, type[EdgeError]] = {error.kind.name: error for error in _EDGE}


class OrchestratorError(FuseError):
    """An error of the orchestrator; the same in this process and over REST."""

    #: Why, for programs: the code of the REST API, such as ``conflict``.
    code: str = "internal"

    def __init__(self, message: str, details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        #: More, by name: ``kind`` says which error it is, the others are its parts.
        self.details: dict[str, str] = details or {}


class RecordNotFoundError(OrchestratorError, LookupError):
    """There is no such environment, host, snapshot, key or dead letter."""

    code = "not_found"


class ConflictError(OrchestratorError):
    """What was asked for does not go with what is: a state, a task that has an environment, a key in use."""

    code = "conflict"


class InvalidRequestError(OrchestratorError, ValueError):
    """The request is not valid; ``details`` has every field that is wrong."""

    code = "invalid_argument"


class UnauthorizedError(OrchestratorError, PermissionError):
    """The token is missing or not taken."""

    code = "unauthorized"


class ForbiddenError(OrchestratorError, PermissionError):
    """The key does not allow this."""

    code = "forbidden"


class UnavailableError(OrchestratorError):
    """Not now: no room, no answer, closed, or it takes longer than the limit."""

    code = "unavailable"


class RateLimitedError(OrchestratorError):
    """Too many requests."""

    code = "rate_limited"


class UnimplementedError(OrchestratorError, NotImplementedError):
    """The host or the control plane cannot do this."""

    code = "unimplemented"


class PayloadTooLargeError(OrchestratorError):
    """More bytes than the limit."""

    code = "payload_too_large"


class InternalError(OrchestratorError):
    """The control plane or a host failed."""

    code = "internal"


class ProviderWarning(RuntimeWarning):
    """What runs environments is not what a program would expect: they are only simulated, or their VMs cannot be reached."""


_ORCHESTRATOR: tuple[type[OrchestratorError], ...] = (
    RecordNotFoundError,
    ConflictError,
    InvalidRequestError,
    UnauthorizedError,
    ForbiddenError,
    UnavailableError,
    RateLimitedError,
    UnimplementedError,
    PayloadTooLargeError,
    InternalError,
)

#: The exception of each code of the REST API.
ORCHESTRATOR_ERRORS: dict[str, type[OrchestratorError]] = {error.code: error for error in _ORCHESTRATOR}


def orchestrator_error(body: str) -> OrchestratorError:
    """The exception for an error body of the REST API."""
    error = json.loads(body)["error"]
    code = "not_found" if error["code"] == "route_not_found" else error["code"]
    return ORCHESTRATOR_ERRORS.get(code, InternalError)(error["message"], error.get("details"))

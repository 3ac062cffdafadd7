"""The words of Fuse that are names and not objects: states, capabilities, activations."""

from __future__ import annotations

import enum

__all__ = ["Activation", "Capability", "ErrorKind", "ModuleState"]


class ModuleState(str, enum.Enum):
    """Where a module is in its life."""

    LOADED = "Loaded"
    RUNNING = "Running"
    PAUSED = "Paused"
    TRAPPED = "Trapped"
    QUOTA_EXCEEDED = "QuotaExceeded"

    def __str__(self) -> str:
        return self.value


class Capability(enum.IntFlag):
    """The built-in HAL groups, as a policy grants them. Bits 8 to 31 are the host's own groups."""

    TEMP_SENSOR = 1
    TIMER = 2
    CAMERA = 4
    LOG = 8
    EVENT_POST = 16


class Activation(enum.IntFlag):
    """What makes a module due in a tick."""

    INTERVAL = 1
    EVENT = 2
    MANUAL = 4


class ErrorKind(enum.IntEnum):
    """The classes of errors of the edge runtime; the numbers are the status codes of the C interface."""

    InvalidArg = 1
    NotFound = 2
    ModuleLimit = 3
    LoadFailed = 4
    PolicyViolation = 5
    QuotaExceeded = 6
    Trap = 7
    IntervalNotElapsed = 8
    WrongState = 9
    BufferTooSmall = 10
    OutOfMemory = 13

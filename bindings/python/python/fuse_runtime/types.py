"""Types for annotations: what calls take beside objects of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, TypedDict, Union

__all__ = ["ApplicationFields", "Buffer", "Metering", "PolicyFields", "Traps"]


class HasBuffer(Protocol):
    """Anything with the buffer protocol, such as a NumPy array."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


Buffer = Union[bytes, bytearray, memoryview, HasBuffer]
Metering = Literal["wall", "fuel", "both"]
Traps = Literal["explicit", "signals"]


class PolicyFields(TypedDict, total=False):
    """The fields of a policy in ``app_config.json``."""

    capabilities: int | Iterable[str]
    memory_pages_max: int
    stack_size: int
    heap_size: int
    cpu_quota_us: int
    step_interval_us: int
    activation_mask: int | str | Iterable[str]
    activation: int | str | Iterable[str]
    event_subscribe: int | Iterable[str]
    fuel_quota: int
    priority: int


class ApplicationFields(TypedDict, total=False):
    """The fields of ``application`` in ``app_config.json``."""

    name: str
    description: str
    max_modules: int
    memory_pool_bytes: int
    log_pool_bytes: int
    metering: Metering
    hal_groups: Iterable[str]
    custom_groups: Iterable[Mapping[str, Any]]
    events: Mapping[str, int]

"""The callbacks through which modules reach the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Buffer

__all__ = ["Hal", "HalGroup"]

_F = TypeVar("_F", bound=Callable[..., Any])


class HalGroup:
    """A group of the host's own functions: a name, a capability bit (8 to 31) and typed functions.

    Parameters are ``i32``, ``i64``, ``f32``, ``f64`` for numbers, ``in`` for bytes that the callback reads (it gets
    ``bytes``), ``out`` and ``inout`` for bytes that it writes (it gets a ``bytearray`` of fixed length, which is copied back
    when it returns). The result is one of the number types, or None.

    >>> downlink = HalGroup("downlink", 8)
    >>> @downlink.function(params=["in"], result="i32")
    ... def downlink_write(data: bytes) -> int:
    ...     return len(data)
    >>> downlink
    HalGroup('downlink', 8, functions=['downlink_write'])
    >>> downlink.capability
    256
    """

    def __init__(self, name: str, bit: int) -> None:
        self.name = name
        self.bit = bit
        self._functions: list[tuple[str, list[str], str | None, Callable[..., Any]]] = []

    @property
    def capability(self) -> int:
        """The capability that a policy needs to call the group's functions."""
        return 1 << self.bit

    def add(
        self, name: str, params: Sequence[str], result: str | None, callback: Callable[..., Any]
    ) -> HalGroup:
        """Adds a function, and returns the group."""
        self._functions.append((name, list(params), result, callback))
        return self

    def function(
        self, *, params: Sequence[str] = (), result: str | None = None, name: str | None = None
    ) -> Callable[[_F], _F]:
        """Decorates a callback: it serves the import of its own name, or of ``name``."""

        def register(callback: _F) -> _F:
            self.add(name or callback.__name__, params, result, callback)
            return callback

        return register

    def __repr__(self) -> str:
        names = [name for name, *_ in self._functions]
        return f"HalGroup({self.name!r}, {self.bit}, functions={names!r})"


class Hal:
    """The callbacks of a runtime: the built-in groups, and groups of the host's own.

    >>> hal = Hal(temp=lambda: 21.5)
    >>> @hal.camera
    ... def newest_frame(max_len: int) -> bytes:
    ...     return b"frame"
    >>> hal
    Hal(temp, camera)
    """

    def __init__(
        self,
        *,
        temp: Callable[[], float] | None = None,
        timer: Callable[[], int] | None = None,
        camera: Callable[[int], Buffer | None] | None = None,
        groups: Sequence[HalGroup] = (),
    ) -> None:
        self._temp = temp
        self._timer = timer
        self._camera = camera
        self._groups = list(groups)

    def temp(self, callback: Callable[[], float]) -> Callable[[], float]:
        """Decorates the temperature sensor: degrees Celsius."""
        self._temp = callback
        return callback

    def timer(self, callback: Callable[[], int]) -> Callable[[], int]:
        """Decorates the clock that modules read: monotonic microseconds."""
        self._timer = callback
        return callback

    def camera(self, callback: Callable[[int], Buffer | None]) -> Callable[[int], Buffer | None]:
        """Decorates the camera: it gets the most bytes that the module takes, and returns the newest frame as bytes,
        bytearray, memoryview or a NumPy array, or None when there is no frame."""
        self._camera = callback
        return callback

    def group(self, name: str, bit: int) -> HalGroup:
        """A new group of the host's own functions."""
        group = HalGroup(name, bit)
        self._groups.append(group)
        return group

    def __repr__(self) -> str:
        parts = [n for n in ("temp", "timer", "camera") if getattr(self, f"_{n}") is not None]
        return f"Hal({', '.join(parts + [repr(g) for g in self._groups])})"

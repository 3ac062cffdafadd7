"""The way of a runtime's log into `logging`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._fuse import LogRecord


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "fatal": logging.CRITICAL}


def emit(logger: logging.Logger, records: list[LogRecord]) -> None:
    """Hands records of a runtime's log to a logger. Called after each call into the runtime that wrote some."""
    for record in records:
        level = _LEVELS[record.level]
        if not logger.isEnabledFor(level):
            continue
        extra = {
            "fuse_sequence": record.sequence,
            "fuse_timestamp_us": record.timestamp_us,
            "fuse_module": record.module,
            "fuse_module_id": record.module_id,
            "fuse_source": record.source,
        }
        logger.log(level, "%s: %s", record.module or "runtime", record.text, extra=extra)

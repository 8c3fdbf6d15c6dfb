"""Structured logs: one JSON object a line, coloured on a terminal, ids bound, secrets hidden.

Log events, not sentences: `log.info("attempt_broadcast", chain_id=1, nonce=7)`. Ids that hold for
everything a task does are bound once with `structlog.contextvars.bound_contextvars`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "json", "console"]

HIDDEN: Final = "[hidden]"
_SECRET_NAMES: Final = re.compile(
    r"(secret|token|password|passwd|authorization|mnemonic|private_?key|api_?key|cookie)", re.I
)
_SIGNED_NAMES: Final = frozenset({"raw", "raw_transaction", "signature"})
_IN_TEXT: Final = (
    ("://", re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    ("eyJ", re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    ("earer ", re.compile(r"\b([Bb]earer) [\w.~+/-]+=*"), rf"\1 {HIDDEN}"),
)
"""What every match contains (looked for first: most texts have none), pattern, replacement."""

_ENCODER: Final = json.JSONEncoder(default=str, separators=(",", ":"))
_OURSELVES: Final = ("structlog", __name__)

# Without local variables: they may hold keys.
_traceback: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace values under telling names, and passwords and tokens inside texts."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    if _is_telling(name):
        return HIDDEN
    if isinstance(value, str):
        for sign, pattern, instead in _IN_TEXT:
            if sign in value:
                value = pattern.sub(instead, value)
        return value
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", inner) for inner in value]
    return value


@lru_cache(maxsize=1_000)
def _is_telling(name: str) -> bool:
    return name in _SIGNED_NAMES or _SECRET_NAMES.search(name) is not None


class _Line:
    """Writes one module's lines, without the standard library's records in between.

    What cannot be written is lost: neither a full disk nor a closed pipe may stop who logs.
    """

    def __init__(self, out: TextIO, name: str, writing: Lock) -> None:
        self.name = name
        self._out, self._writing = out, writing

    def msg(self, line: str) -> None:
        """Write a line and flush it."""
        with self._writing, suppress(OSError, ValueError):
            self._out.write(line + "\n")
            self._out.flush()

    debug = info = warning = error = critical = msg


def _lines(out: TextIO) -> Callable[..., _Line]:
    """Return what makes the logger of a name, or of the module that logs."""
    writing = Lock()
    named = cache(lambda name: _Line(out, name, writing))
    return lambda *names: named(names[0] if names else _caller())


def _caller() -> str:
    """Return the name of the module that logs."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_OURSELVES):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return _ENCODER.encode(event)
    except (TypeError, ValueError):  # keys that JSON has no word for, or a circle
        return _ENCODER.encode({name: str(value) for name, value in event.items()})


def configure(
    log_format: Format = "auto", level: str = "info", stream: TextIO | None = None
) -> None:
    """Send the platform's and the libraries' logs to `stream` (default: standard error).

    "auto" is coloured text on a terminal and JSON elsewhere. Safe to call again.
    """
    out = stream or sys.stderr
    coloured = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if coloured else [_traceback]),
        hide_secrets,
    ]
    last: Processor = structlog.dev.ConsoleRenderer(colors=out.isatty()) if coloured else _as_json
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=_lines(out),
        cache_logger_on_first_use=False,
    )

"""Logs: one line an event, as JSON for machines or as text for a person, with everything private hidden first.

Code logs with the standard library (`logging.getLogger("kassa")`); structlog gives each line its shape. Redaction is the last step
before a line is written, so it also meets what libraries log and what exceptions quote.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from kassa.kit import trace
from kassa.kit.context import about, request_id
from kassa.kit.figures import LOG_LINES

HIDDEN = "[hidden]"

_PRIVATE_NAME = re.compile(
    r"card|cvv|cvc|secret|token|password|passwd|email|e_mail|address|authorization|cookie|api_?key|dsn", re.IGNORECASE
)
_UUID = r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
_LONG_DIGITS = re.compile(rf"({_UUID})|\d(?:[ -]?\d){{11,}}")
"""A run of 12 or more digits, blanks and hyphens between them or not. An id of ours is not one, whatever its digits."""
_PRIVATE_TEXT = (
    (re.compile(r"://[^/@\s]*@"), f"://{HIDDEN}@"),
    (re.compile(r"\b[Bb]earer\s+\S+"), f"Bearer {HIDDEN}"),
    (re.compile(r"\b(?:sk|whsec)_[\w+/=-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"[^\s@\"'<>=(),;:]+@[^\s@\"'<>(),;:]+\.\w+"), HIDDEN),
)

Line = MutableMapping[str, Any]


def configure(level: str, *, as_json: bool, to: TextIO | None = None) -> None:
    """Send every log line at `level` or above to `to` (standard error). Called again it replaces the former set-up."""
    shape: Any = structlog.processors.JSONRenderer() if as_json else _for_people(to or sys.stderr)
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_BEFORE, processors=[*_LAST, shape]))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("uvicorn", "alembic", "asyncio", "aiohttp"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("asyncpg").setLevel(logging.ERROR)  # a pool that cannot connect is told by `kit/database.py`, in one line
    structlog.configure(
        processors=[*_BEFORE, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: Any, _method: str, line: Line) -> Line:
    """Hide what is private: values under private names, long digit runs, e-mail addresses, credentials, at any depth."""
    for name, value in line.items():
        line[name] = _hide(name, value)
    return line


def mask(text: str) -> str:
    """`text` without long digit runs, e-mail addresses and credentials."""
    for pattern, instead in _PRIVATE_TEXT:
        text = pattern.sub(instead, text)
    return _LONG_DIGITS.sub(lambda found: found[1] or HIDDEN, text)


def _hide(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _PRIVATE_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _hide(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_hide("", inner) for inner in value]
    if isinstance(value, int | float):
        return HIDDEN if _LONG_DIGITS.search(str(value)) else value
    return mask(str(value))


def _name_request(_logger: Any, _method: str, line: Line) -> Line:
    if current := request_id.get():
        line["request_id"] = current
    return line


def _name_trace(_logger: Any, _method: str, line: Line) -> Line:
    """The trace's ids, after redaction: they are hexadecimal digits and nothing else, some of which look like a card's."""
    if (here := trace.current.get()) is not None:
        line["trace_id"] = here.trace_id
        if here.span is not None:
            line["span_id"] = here.span_id
    return line


def _name_subject(_logger: Any, _method: str, line: Line) -> Line:
    """The ids of what the work is about, where the line does not say them itself."""
    for name, value in about.get().items():
        if value is not None:
            line.setdefault(name, str(value))
    return line


def _count(_logger: Any, _method: str, line: Line) -> Line:
    LOG_LINES.labels(line["level"]).inc()
    return line


def _for_people(to: TextIO) -> Any:
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=to.isatty(), exception_formatter=plain, pad_event_to=0, timestamp_key="at")


_BEFORE: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _name_request,
    structlog.stdlib.add_log_level,
    _count,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    _name_subject,
]
_LAST: list[Any] = [
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    structlog.processors.format_exc_info,
    redact,
    _name_trace,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]

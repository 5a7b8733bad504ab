"""Which trace a piece of work belongs to (W3C Trace Context): taken from callers, kept with events, told to neighbours.

A trace is one text, the `traceparent`. Every request belongs to one, its caller's or a new one, so that log lines and events say
what belongs together. Spans are recorded only where there is a collector: bootstrap gives `record_with` a recorder then, and
`kit/spans.py` is loaded. Without one, `span` gives the same object every time, which does nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar, Token
from typing import Any, Literal, NamedTuple, Protocol, Self

Kind = Literal["internal", "server", "client", "producer"]

_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}"
_OURS = re.compile(rf"00-{_IDS}-0[0-3]")
"""A `traceparent` as we write it: version 00, and the two flags that are known (sampled, and chosen by chance)."""
_THEIRS = re.compile(rf"(?!ff)([0-9a-f]{{2}})-({_IDS})-([0-9a-f]{{2}})(-[\x21-\x7e]*)?")
_FLAGS = 0x03
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_LONGEST_STATE, _MOST_MEMBERS = 512, 32
"""Characters and members of a `tracestate` that are carried on; a longer one is dropped whole."""


class Trace(NamedTuple):
    """Where in a trace this work stands. `parent` is what whoever goes on from here is told: a `traceparent` of version 00.

    `state` is the caller's `tracestate`. `told`: whether neighbours hear of it; a trace that was only made up here would tell them
    not to record their own. `span` is what is being recorded, None without a collector.
    """

    parent: str
    state: str = ""
    told: bool = True
    span: Any = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether somebody records it."""
        return bool(int(self.parent[53:], 16) & 1)


class Span:
    """A piece of work, from `with` to the end of the block. This one is of nobody who records: it does nothing."""

    __slots__ = ()
    on = False
    """Whether something is recorded: what costs time to say need not be said otherwise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        return None

    def say(self, **attributes: Any) -> None:
        """Note what it is about, each as `kassa.<name>`; None is left out. Ids and kinds of outcome only, nothing of a person."""

    def mark(self, name: str, value: str | float) -> None:
        """Note something under a name that OpenTelemetry has given."""

    def rename(self, name: str) -> None:
        """It is called something else: known only when it has begun."""

    def fail(self) -> None:
        """It ended badly, through a fault of ours."""


NOTHING = Span()


class Recorder(Protocol):
    """Whoever records spans: `kit/spans.py`."""

    def begin(self, name: str, here: Trace | None, kind: Kind, links: tuple[str, ...] = ()) -> Span:
        """A span below `here`, or the first one of a new trace; `links` are `traceparent`s of others that it has to do with."""


current: ContextVar[Trace | None] = ContextVar("kassa_trace", default=None)
"""The trace of the work that is being done, None for what nobody asked for."""
_recorder: Recorder | None = None


def record_with(recorder: Recorder | None) -> None:
    """Have all spans of this process recorded from now on, or none (None)."""
    global _recorder  # noqa: PLW0603 - one collector for a process, as with its log
    _recorder = recorder


def read(parent: str | None, state: str | None = None) -> Trace | None:
    """The trace that a caller names, None for a `traceparent` that is none. A `tracestate` that is none is dropped."""
    said = _as_ours(parent) if parent else None
    if said is None:
        return None
    return Trace(said, state if state and _is_state(state) else "")


def _as_ours(parent: str) -> str | None:
    if _OURS.fullmatch(parent):
        return parent
    found = _THEIRS.fullmatch(parent)
    if found is None or (found[1] == "00" and found[4]):
        return None
    return f"00-{found[2]}-{int(found[3], 16) & _FLAGS:02x}"


def _is_state(state: str) -> bool:
    """Whether it is a list of members. One by one: a pattern for all of them could be made to try for ever."""
    if len(state) > _LONGEST_STATE:
        return False
    members = [each.strip(" \t") for each in state.split(",")]
    return len(members) <= _MOST_MEMBERS and any(members) and all(not each or _MEMBER.fullmatch(each) for each in members)


def arrive(parent: str | None, state: str | None, name: str) -> Span:
    """A request comes in: inside the block its work belongs to the caller's trace, or to a new one. `name` is the span's."""
    theirs = read(parent, state) if parent is not None else None
    if _recorder is not None:
        return _recorder.begin(name, theirs, "server")
    return Belonging(theirs or _made_up())


def go_on(name: str, kept: str | None, kind: Kind = "internal") -> Span:
    """Work that was left is gone on with: inside the block it belongs to the trace that was kept with what it is about.

    Where none was kept it belongs to none, or is recorded as the first span of a trace.
    """
    theirs = read(kept)
    if _recorder is not None:
        return _recorder.begin(name, theirs, kind)
    return Belonging(theirs and theirs._replace(told=theirs.sampled))


def span(name: str, kind: Kind = "internal") -> Span:
    """A part of the work that is being done; nothing where that belongs to no trace, or is not recorded."""
    if _recorder is None or (here := current.get()) is None or here.span is None:
        return NOTHING
    return _recorder.begin(name, here, kind)


def batch(name: str, kept: Iterable[str | None]) -> Span:
    """Work for many at once, which is a trace of its own with a link to each of theirs that somebody records."""
    if _recorder is None:
        return NOTHING
    found = (read(each) for each in kept)
    links = dict.fromkeys(each.parent for each in found if each is not None and each.sampled)
    return _recorder.begin(name, None, "producer", tuple(links))


def kept() -> str | None:
    """The `traceparent` that is written down with what happens here, None where it belongs to no trace."""
    here = current.get()
    return None if here is None else here.parent


def id_of(parent: str | None) -> str | None:
    """The trace's id in a `traceparent` that was kept."""
    return None if parent is None else parent[3:35]


def headers() -> list[tuple[str, str]]:
    """What a neighbour is told, for HTTP headers and for metadata; nothing where it is to hear nothing."""
    here = current.get()
    if here is None or not here.told:
        return []
    return [("traceparent", here.parent), ("tracestate", here.state)] if here.state else [("traceparent", here.parent)]


class Belonging(Span):
    """Work that belongs to a trace (or, with None, to none) of which nothing is recorded here."""

    __slots__ = ("_here", "_token")
    _token: Token[Trace | None]

    def __init__(self, here: Trace | None) -> None:
        self._here = here

    def __enter__(self) -> Self:
        self._token = current.set(self._here)
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        current.reset(self._token)


def _made_up() -> Trace:
    # Nobody's secret and no key: unlikely to meet is enough.
    ids = f"{random.getrandbits(192):048x}"
    return Trace(f"00-{ids[:32]}-{ids[32:]}-00", "", False)

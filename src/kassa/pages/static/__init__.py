"""Files that pages use: one stylesheet, htmx, a script of our own. Each address names its content, so it may be kept for ever."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib import resources

from kassa.api.answers import Answer
from kassa.api.call import Call, header
from kassa.api.errors import UnknownPath

PLACE = "/static"
_KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".webmanifest": b"application/manifest+json",
}
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")


def address_of_file(name: str) -> str:
    """Where a file of this folder is served. Raises `KeyError` for one that is not there."""
    return f"{PLACE}/{_mark(name)}/{name}"


async def serve_file(call: Call) -> Answer:
    """`/static/{mark}/{name}`. Raises `UnknownPath`; an old mark gets the file as it is now, and is not to be kept."""
    name = call.in_path["name"]
    if name not in _names():
        raise UnknownPath
    kept = (_FOR_EVER,) if call.in_path["mark"] == _mark(name) else ()
    kind = _KINDS["." + name.rpartition(".")[2]]
    if "gzip" in (header(call.scope, b"accept-encoding") or ""):
        return Answer(200, _squeezed(name), (*kept, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")), kind)
    return Answer(200, _content(name), kept, kind)


@cache
def _names() -> frozenset[str]:
    files = resources.files(__package__ or "").iterdir()
    return frozenset(each.name for each in files if "." + each.name.rpartition(".")[2] in _KINDS)


@cache
def _mark(name: str) -> str:
    if name not in _names():
        raise KeyError(name)
    return hashlib.sha256(_content(name)).hexdigest()[:12]


@cache
def _squeezed(name: str) -> bytes:
    return gzip.compress(_content(name), mtime=0)


@cache
def _content(name: str) -> bytes:
    return (resources.files(__package__ or "") / name).read_bytes()

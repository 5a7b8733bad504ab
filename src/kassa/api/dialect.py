"""Which words an address answers in. Every contract has its own shape of errors; the address decides, longest prefix first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kassa.api.answers import Answer
from kassa.kit.errors import KassaError


class Dialect(Protocol):
    """How a contract says no."""

    def refuse(self, error: KassaError) -> Answer:
        """The answer for an error, with its status and whatever headers belong to it. Never the caller's own input."""
        ...


class Dialects:
    """The dialect of each address. A prefix that ends in `/` owns what is below it, another one its own address too."""

    def __init__(self, by_prefix: Mapping[str, Dialect], otherwise: Dialect) -> None:
        self._by_prefix = sorted(by_prefix.items(), key=lambda entry: -len(entry[0]))
        self._otherwise = otherwise

    def at(self, path: str) -> Dialect:
        """The dialect in which `path` answers."""
        for prefix, dialect in self._by_prefix:
            if path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) : len(prefix) + 1] in {"", "/"}):
                return dialect
        return self._otherwise

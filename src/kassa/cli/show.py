"""How commands speak: tables for people, JSON for scripts, one kind line when something stops them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]


class CommandError(Exception):
    """The command cannot be begun; the text is one line that says why and what to do."""


def people() -> Console:
    """Where people read: standard output, in colour when it is a terminal."""
    return Console(highlight=False)


def progress() -> Console:
    """Where progress is shown: standard error, so that it never mixes with an answer."""
    return Console(stderr=True, highlight=False)


def say_json(value: Any) -> None:
    """Print `value` as one line of JSON."""
    sys.stdout.write(json.dumps(value, default=str, separators=(",", ":")) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table; columns whose name ends in `#` hold numbers and stand to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.removesuffix("#"), justify="right" if column.endswith("#") else "left")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made

"""The schema, told as hand-written SQL: one capability per file, expand first and contract later."""

from __future__ import annotations

import re

from alembic import op

_END = re.compile(r";\n(?=\S|\n|$)")
"""The end of a statement: a semicolon before a line that is not indented, so that a function keeps its body."""


def run(sql: str) -> None:
    """Run statements one by one (the driver prepares each)."""
    for statement in _END.split(sql):
        if statement.strip():
            op.execute(statement)

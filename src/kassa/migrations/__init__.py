"""The schema, told as hand-written SQL: one capability per file, expand first and contract later."""

from __future__ import annotations

from alembic import op


def run(sql: str) -> None:
    """Run statements separated by a semicolon at the end of a line, one by one (the driver prepares each)."""
    for statement in sql.split(";\n"):
        if statement.strip():
            op.execute(statement)

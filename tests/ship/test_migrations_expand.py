"""After the first release a revision only adds: the release before it goes on working on its schema, and nobody waits for it.

Read are the statements that a revision would run, without a database. One that takes something away says from which revision on no
code uses that (`contracts = "0031"`), and `kassa.migrate.OLDEST_CODE` is raised to it: older code then does not start any more.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from alembic import op

from kassa import migrate

_COMMENT = re.compile(r"--[^\n]*")
_BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_TEXT = re.compile(r"'(?:[^']|'')*'")
_NAME = r'(?:IF (?:NOT )?EXISTS )?(?:ONLY )?("?[\w.]+"?)'
_MADE = re.compile(rf"^CREATE (?:UNLOGGED )?TABLE {_NAME}", re.IGNORECASE)
_TAKES_AWAY = {
    "drops something": r"^DROP (?!INDEX CONCURRENTLY)\w+",
    "drops a part of a table": r"\bDROP (COLUMN|CONSTRAINT|DEFAULT|NOT NULL|EXPRESSION|IDENTITY)\b|^ALTER TABLE .*\bDROP (?!NOT NULL)\w+",
    "renames": r"\bRENAME\b",
    "changes a type": r"\b(SET DATA )?TYPE\b(?= \w+( USING)?)(?<!CREATE TYPE)",
    "forbids what was allowed": r"\bSET NOT NULL\b",
    "forbids to write": r"^REVOKE\b|\bENABLE ROW LEVEL SECURITY\b",
    "empties a table": r"^(TRUNCATE|DELETE)\b",
    "replaces what is there": r"^CREATE OR REPLACE\b",
}
"""What would break code that is running. Nothing of it is wrong for a table that the same revision makes."""
_BLOCKS = {
    "a new column must be filled": r"\bADD (COLUMN )?(?!CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)\w+ (?=[^,]*\bNOT NULL\b)(?![^,]*\bDEFAULT\b)",
    "a new column is computed for every row": r"\bADD (COLUMN )?\w+ [^,]*(\bGENERATED\b|\bDEFAULT \(?(gen_random_uuid|random|clock_timestamp|nextval)\b)",
    "a constraint looks at every row": r"\bADD (CONSTRAINT \w+ )?(CHECK|FOREIGN KEY)\b(?!.*\bNOT VALID\b)",
    "a new column's constraint looks at every row": r"\bADD (COLUMN )?(?!CONSTRAINT|CHECK|FOREIGN)\w+ [^,]*\b(CHECK|REFERENCES)\b",
    "an index is built under a lock": r"\bADD (CONSTRAINT \w+ )?(PRIMARY KEY|UNIQUE|EXCLUDE)\b(?!.*\bUSING INDEX\b)|^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)",
    "every row is written": r"^UPDATE\b(?!.* WHERE )",
    "a table is copied": r"\bSET (ACCESS METHOD|TABLESPACE|LOGGED|UNLOGGED)\b|^(CLUSTER|VACUUM FULL|REINDEX (?!.*CONCURRENTLY))",
}
"""What would hold up buyers, or fail, on a table that has rows."""
_SMALL = frozenset({"alembic_version", "clock", "verify_look", "verify_found", "sealed_keys", "plans", "merchants", "channels", "feeds",
                    "payme_cashboxes", "routes", "staff_accounts", "audit_heads"})  # fmt: skip
"""Tables with a row for each merchant, or one: to look at each of them takes no time."""
NAMED: dict[str, str] = {}
"""Revision and fault to why it is right there, such as `"0031: renames": "nobody has read the view since 0030"`. For what only looks wrong."""


@dataclass(frozen=True)
class Revision:
    """A file of the chain, and what it would run, each with whether it is in a transaction of its own."""

    name: str
    contracts: str | None
    statements: tuple[tuple[str, bool], ...]


class _Spy:
    """Takes the place of Alembic's `op`: notes statements instead of running them."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []
        self.alone = False

    def execute(self, sql: Any, *_: object, **__: object) -> None:
        self.said += [(each, self.alone) for each in split(str(sql))]

    def get_context(self) -> _Spy:
        return self

    def autocommit_block(self) -> _Spy:
        return self

    def __enter__(self) -> None:
        self.alone = True

    def __exit__(self, *_: object) -> None:
        self.alone = False

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"op.{name}: revisions are SQL written by hand, which this test can read")


def split(sql: str) -> list[str]:
    """Statements in one line each, without comments, bodies of functions and texts."""
    bare = _TEXT.sub("''", _BODY.sub("''", _COMMENT.sub("", sql)))
    return [" ".join(each.split()) for each in bare.split(";") if each.strip()]


def faults(statements: Sequence[tuple[str, bool]]) -> Iterator[str]:
    """What is wrong with these statements, as parts of one revision."""
    made = {found[1] for each, _ in statements if (found := _MADE.match(each))}
    for each, alone in statements:
        if re.search(r"\bCONCURRENTLY\b", each) and not alone:
            yield f"CONCURRENTLY outside an autocommit_block: {each}"
        table = _table(each)
        if table in made:
            continue
        kinds = _TAKES_AWAY if table in _SMALL else _TAKES_AWAY | _BLOCKS
        for what, pattern in kinds.items():
            if re.search(pattern, each, re.IGNORECASE):
                yield f"{what}: {each}"


def _table(statement: str) -> str | None:
    found = re.match(
        rf"^(?:ALTER TABLE|CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?{_NAME} ON|UPDATE|INSERT INTO|REVOKE .* ON) {_NAME}",
        statement,
        re.IGNORECASE,
    )
    return found[2] if found else None


def revision(file: str) -> Revision:
    """Read one by letting it run into the spy."""
    from kassa import migrations

    module = importlib.import_module(f"kassa.migrations.versions.{file}")
    spy = _Spy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "op", spy, raising=False)
        patch.setattr(op, "execute", spy.execute)
        patch.setattr(op, "get_context", spy.get_context)
        if hasattr(module, "op"):
            patch.setattr(module, "op", spy)
        module.upgrade()
    return Revision(module.revision, getattr(module, "contracts", None), tuple(spy.said))


def later() -> list[str]:
    """The files of revisions behind the first release, by name."""
    files = sorted(path.stem for path in (migrate.FOLDER / "versions").glob("[0-9]*.py"))
    return [each for each in files if each.split("_")[0] > FIRST_RELEASE]


FIRST_RELEASE = "0029"
"""The newest revision of 0.1.0: what came before it was never under anybody's buyers."""


@pytest.mark.parametrize("file", later())
def test_a_revision_only_adds(file: str) -> None:
    read = revision(file)
    assert read.statements, "it runs nothing that this test has seen"
    found = [each for each in faults(read.statements) if f"{read.name}: {each.partition(':')[0]}" not in NAMED]
    if read.contracts is not None:
        found = [each for each in found if each.partition(":")[0] not in _TAKES_AWAY]
    assert not found, "\n".join(found)


def test_what_contracts_says_who_may_still_run() -> None:
    known = migrate.revisions()[0]
    named = {read.name: read.contracts for read in map(revision, later()) if read.contracts is not None}
    for name, since in named.items():
        assert since in known, f"{name}: there is no revision {since}"
        assert since < name, f"{name}: the release before it must already do without"
    assert max([FIRST_RELEASE, *named.values()]) == migrate.OLDEST_CODE


def test_the_first_release_is_read_too() -> None:
    """The reader sees what the old revisions did: some of it would not be let through today."""
    assert any(each.startswith("changes a type") for each in faults(revision("0016_feed").statements))
    assert any(each.startswith("an index is built") for each in faults(revision("0027_desk").statements))
    assert not list(faults(revision("0023_velocity").statements)), "a table of its own hurts nobody"


GOOD = (
    ("ALTER TABLE orders ADD COLUMN note text", False),
    ("ALTER TABLE orders ADD COLUMN n integer NOT NULL DEFAULT 0", False),
    ("ALTER TABLE orders ADD CONSTRAINT c CHECK (n >= 0) NOT VALID", False),
    ("ALTER TABLE orders VALIDATE CONSTRAINT c", False),
    ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (n)", True),
    ("DROP INDEX CONCURRENTLY IF EXISTS i", True),
    ("CREATE VIEW v AS SELECT 1", False),
    ("INSERT INTO plans (plan_id) VALUES ('')", False),
    ("ALTER TABLE plans ADD COLUMN n integer CHECK (n > 0)", False),
    ("UPDATE orders SET n = 1 WHERE order_id = ''", False),
)
BAD = (
    ("DROP TABLE orders", "drops something"),
    ("DROP VIEW v", "drops something"),
    ("DROP INDEX i", "drops something"),
    ("ALTER TABLE orders DROP COLUMN n", "drops a part"),
    ("ALTER TABLE orders DROP CONSTRAINT c", "drops a part"),
    ("ALTER TABLE orders ALTER COLUMN n DROP DEFAULT", "drops a part"),
    ("ALTER TABLE orders ALTER COLUMN n TYPE bigint", "changes a type"),
    ("ALTER TABLE orders ALTER COLUMN n SET DATA TYPE bigint USING n::bigint", "changes a type"),
    ("ALTER TABLE orders ALTER COLUMN n SET NOT NULL", "forbids"),
    ("ALTER TABLE orders RENAME COLUMN n TO m", "renames"),
    ("ALTER TABLE orders RENAME TO others", "renames"),
    ("ALTER TABLE orders ADD COLUMN n integer NOT NULL", "a new column must be filled"),
    ("ALTER TABLE orders ADD COLUMN id uuid DEFAULT gen_random_uuid()", "a new column is computed"),
    ("ALTER TABLE orders ADD COLUMN n integer CHECK (n > 0)", "a new column's constraint"),
    ("ALTER TABLE orders ADD CONSTRAINT c CHECK (n >= 0)", "a constraint looks"),
    ("ALTER TABLE orders ADD FOREIGN KEY (n) REFERENCES plans", "a constraint looks"),
    ("ALTER TABLE orders ADD CONSTRAINT u UNIQUE (n)", "an index is built"),
    ("CREATE UNIQUE INDEX i ON orders (n)", "an index is built"),
    ("UPDATE orders SET n = 1", "every row"),
    ("DELETE FROM orders WHERE n = 1", "empties"),
    ("REVOKE UPDATE ON orders FROM PUBLIC", "forbids to write"),
    ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''", "replaces"),
    ("CREATE INDEX CONCURRENTLY i ON orders (n)", "CONCURRENTLY outside"),
)


@pytest.mark.parametrize(("statement", "alone"), GOOD)
def test_what_adds_is_let_through(statement: str, alone: bool) -> None:
    assert not list(faults([(statement, alone)]))


@pytest.mark.parametrize(("statement", "why"), BAD)
def test_what_would_break_the_release_before_is_not(statement: str, why: str) -> None:
    assert [each for each in faults([(statement, False)]) if each.startswith(why)]

"""Seal anew under `KASSA_SECRET` what `KASSA_SECRET_OLD` has sealed: column by column, in small batches, beside running processes.

A row is written only if it still is as it was read, so nothing that others write meanwhile is lost. Broken off, it is begun again
and finds what is done already: what opens with the new secret is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.kit.by_merchant import by_merchant
from kassa.kit.context import Context
from kassa.kit.database import Database, Row, Tx, placeholders
from kassa.kit.own_keys import about
from kassa.kit.secrets import Keys

BATCH = 500


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed bytes. `key`: the columns of the row's key with their types; `about`: what the seal is bound to.

    `hashed`: a column beside it with a keyed hash of what is sealed, and how that is made; it is made anew together with the seal.
    """

    table: str
    column: str
    key: tuple[tuple[str, str], ...]
    about: Callable[[Row], bytes]
    hashed: tuple[str, Callable[[Keys, bytes], bytes | None]] | None = None

    @property
    def name(self) -> str:
        """The column as people write it: `endpoints.secret`."""
        return f"{self.table}.{self.column}"


OWN_KEYS = Sealed("sealed_keys", "sealed", (("name", "text"),), lambda row: about(row["name"]))
"""Only looked at by `reseal`: they are sealed anew by `begin_rotation`, all at once."""
ANSWERS = Sealed(
    "idempotency_keys",
    "answer",
    (("merchant_id", "text"), ("caller", "text"), ("operation", "text"), ("key", "text")),
    lambda row: row["key"].encode(),
)


@dataclass(slots=True)
class Progress:
    """How a column stands: rows that were looked at, sealed anew now, still to be done, and those that no present secret opens."""

    column: str
    looked: int = 0
    resealed: int = 0
    left: int = 0
    locked: int = 0


Tell = Callable[[Progress], None]


async def reseal(ctx: Context, sealed: Sealed, *, only_count: bool = False, tell: Tell = lambda _: None) -> Progress:
    """Seal a whole column anew, or count what would have to be. Done twice, the second finds nothing to do."""
    progress, after = Progress(sealed.name), None
    while rows := await _page(ctx.db, sealed, after):
        after = rows[-1]
        old = []
        for row in rows:
            match ctx.keys.sealed_by(bytes(row[sealed.column]), sealed.about(row)):
                case "old":
                    old.append(row)
                case None:
                    progress.locked += 1
        progress.looked += len(rows)
        done = 0
        for mine in by_merchant(old).values() if not only_count else ():
            done += await _write(ctx.db, ctx.keys, sealed, mine)
        progress.resealed += done
        progress.left += len(old) - done
        tell(progress)
        await asyncio.sleep(0)
    return progress


async def begin_rotation(tx: Tx, keys: Keys) -> bool:
    """Seal the installation's own keys under the present secret; False when they are already.

    From now on a process that has the old secret only does not start any more. The moment is noted: what was hashed before it may
    be known under the old secret only.
    """
    rows = await tx.rows("SELECT name, sealed FROM sealed_keys ORDER BY name FOR UPDATE")
    old = [row for row in rows if keys.sealed_by(bytes(row["sealed"]), about(row["name"])) == "old"]
    for row in old:
        key = keys.unseal(bytes(row["sealed"]), about(row["name"]))
        assert key is not None
        await tx.execute(
            "UPDATE sealed_keys SET sealed = $2, resealed_at = kassa_now() WHERE name = $1",
            row["name"], keys.seal(key, about(row["name"])),
        )  # fmt: skip
    return bool(old)


async def old_until(db: Database) -> tuple[int, datetime | None]:
    """How many idempotency keys from before the rotation still count, and until when: hashes cannot be made anew.

    While one of them lives, a repeat of its request is recognised under the old secret only.
    """
    row = await db.row(
        """
        SELECT count(*) AS many, max(k.expires_at) AS until
          FROM idempotency_keys k JOIN sealed_keys s ON s.name = 'audit' AND k.created_at <= coalesce(s.resealed_at, s.made_at)
         WHERE k.expires_at > kassa_now()
        """
    )
    assert row is not None
    return row["many"], row["until"]


async def _page(db: Database, sealed: Sealed, after: Row | None) -> list[Row]:
    names = ", ".join(name for name, _ in sealed.key)
    behind = "true"
    args: list[Any] = []
    if after is not None:
        behind = f"({names}) > ({', '.join(f'${place}' for place in range(2, len(sealed.key) + 2))})"
        args = [after[name] for name, _ in sealed.key]
    return await db.rows(
        f"""
        SELECT {names}, {sealed.column} FROM {sealed.table}
         WHERE {behind} AND {sealed.column} IS NOT NULL ORDER BY {names} LIMIT $1
        """,
        BATCH, *args,
    )  # fmt: skip


async def _write(db: Database, keys: Keys, sealed: Sealed, rows: list[Row]) -> int:
    """Write a batch of one merchant; a row that changed meanwhile was sealed by somebody else: the next run looks at it."""
    new = []
    for row in rows:
        data = keys.unseal(bytes(row[sealed.column]), sealed.about(row))
        assert data is not None
        key = [row[name] for name, _ in sealed.key]
        again = sealed.hashed[1](keys, data) if sealed.hashed else None
        new.append([*key[1:], bytes(row[sealed.column]), keys.seal(data, sealed.about(row)), again])
    names = [name for name, _ in sealed.key[1:]]
    types = [*(kind for _, kind in sealed.key[1:]), "bytea", "bytea", "bytea"]
    given = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 2))
    same = " AND ".join(["t.merchant_id = $1", *(f"t.{name} = n.{name}" for name in names)])
    return await db.execute(
        f"""
        UPDATE {sealed.table} t SET {sealed.column} = n.made{f", {sealed.hashed[0]} = n.again" if sealed.hashed else ""}
          FROM unnest({given}) AS n ({", ".join([*names, "before", "made", "again"])})
         WHERE {same} AND t.{sealed.column} = n.before
        """,
        rows[0]["merchant_id"], *placeholders(new, len(types)),
    )  # fmt: skip

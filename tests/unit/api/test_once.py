"""When a connection breaks in the middle of a commit, the key tells what became of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kassa.api.answers import Answer
from kassa.api.keys import once_in
from kassa.kit import once
from kassa.kit.database import CommitUnknown, DatabaseAway

from .asking import context

KEY = once.Key("1", "user:1", "POST /x", "a-key-of-mine", b"payload", timedelta(hours=1))


class Torn:
    """A database that keeps one key; each transaction ends as the script says."""

    def __init__(self, *ends: str) -> None:
        self.ends = list(ends)
        self.kept: once.Found | None = None
        self.effects = 0

    @contextlib.asynccontextmanager
    async def transaction(self, _name: str) -> AsyncIterator[Torn]:
        end = self.ends.pop(0) if self.ends else "committed"
        if end == "away":
            raise DatabaseAway
        before = (self.kept, self.effects)
        yield self
        if end == "lost":
            self.kept, self.effects = before
        if end in {"lost", "kept, and torn"}:
            raise CommitUnknown


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def claim(tx: Torn, *_: Any) -> once.Found | None:
        return tx.kept

    async def answer(tx: Torn, _keys: Any, _key: Any, status: int, body: bytes) -> None:
        tx.kept = once.Found("done", None, status, body)

    monkeypatch.setattr(once, "claim", claim)
    monkeypatch.setattr(once, "answer", answer)


async def ask(db: Torn) -> Answer:
    async def work(_tx: Any) -> Answer:
        db.effects += 1
        return Answer(201, b"body", ((b"etag", b'"1"'),))

    return await once_in(replace(context(), db=db), "test", KEY, work)  # type: ignore[type-var]


@pytest.mark.parametrize("end", ["committed", "kept, and torn", "lost"])
async def test_the_effect_happens_once_and_is_answered_as_the_first(end: str) -> None:
    db = Torn(end)
    answer = await ask(db)
    assert (answer.status, answer.body, answer.headers, db.effects) == (201, b"body", ((b"etag", b'"1"'),), 1)
    again = await ask(db)
    assert (again.status, again.body, db.effects) == (201, b"body", 1)
    assert dict(again.headers) == {b"etag": b'"1"', b"idempotent-replayed": b"true"}


@pytest.mark.parametrize("ends", [("kept, and torn", "away"), ("lost", "lost")])
async def test_nobody_says_that_nothing_was_written_when_that_is_not_known(ends: tuple[str, ...]) -> None:
    with pytest.raises(CommitUnknown):
        await ask(Torn(*ends))


async def test_a_database_that_is_away_from_the_start_wrote_nothing() -> None:
    with pytest.raises(DatabaseAway):
        await ask(Torn("away"))

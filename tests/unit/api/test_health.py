"""Ready means that the database answered just now, with the schema of this code."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kassa.kit import readiness

from .asking import Database, NoDatabase, an_app, ask


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_living_process_says_so_without_a_database(method: str) -> None:
    db = NoDatabase()
    heard = await ask(an_app(db), method, "/health")
    assert (heard.status, heard.json, db.asked) == (200, {"message": "ok", "status": "ok"}, 0)


async def test_ready_when_the_database_answers() -> None:
    heard = await ask(an_app(Database()), "GET", "/ready")
    assert (heard.status, heard.json) == (200, {"message": "ready"})


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), TimeoutError()])
async def test_not_ready_when_it_does_not(error: Exception | None) -> None:
    heard = await ask(an_app(NoDatabase(error)), "GET", "/ready")
    assert (heard.status, heard.json) == (503, {"message": "not ready", "code": "unavailable"})
    assert heard.header("retry-after") == "2"


async def test_not_ready_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen:
        async def value(self, *_: Any) -> Any:
            await asyncio.sleep(60)

    monkeypatch.setattr(readiness, "_WITHIN_S", 0.05)
    assert (await ask(an_app(Frozen()), "GET", "/ready")).status == 503


async def test_that_the_schema_is_not_current_is_never_remembered() -> None:
    answers = [False, False, True, False]

    async def current() -> bool:
        return answers.pop(0)

    app = an_app(Database(), schema_is_current=current)
    assert [(await ask(app, "GET", "/ready")).status for _ in range(5)] == [503, 503, 200, 200, 200]
    assert answers == [False]

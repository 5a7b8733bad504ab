"""Telling the merchant's side what a buyer decided: signed, and repeated until it is answered 2xx (`payments.md` 4).

What is due stands in the book, so a restart goes on where the last process stopped. Times are seconds unless named.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from dataclasses import dataclass

import aiohttp

from kassa.sandbox import exact
from kassa.sandbox.book import Book, now_us
from kassa.sandbox.model import MICROSECONDS, Tx

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 60.0
_LIMIT_S = 4.0
_LOOK_AGAIN_S = 1.0
_AT_ONCE = 20
_TOLD = 2

_log = logging.getLogger("kassa.sandbox")


@dataclass(frozen=True, slots=True)
class _Due:
    id: int
    payment_id: str
    status: str
    attempts: int


class Teller:
    """The task that sends due webhooks. Several processes may run one each; a row has one sender at a time."""

    def __init__(self, book: Book, url: str, secret: str) -> None:
        self._book, self._url, self._secret = book, url, secret.encode()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. A second time does nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="sandbox-webhooks")

    def ring(self) -> None:
        """Something became due just now."""
        self._bell.set()

    async def stop(self) -> None:
        """End; what was not told stays due."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                self._bell.clear()
                pause = _LOOK_AGAIN_S
                try:
                    due, pause = await self._book.change(_claim_due)
                    await asyncio.gather(*(self._tell(session, one) for one in due))
                except Exception as error:  # noqa: BLE001 - the teller outlives every mishap; the rows stay due
                    _log.warning("sandbox webhooks: %s", type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), pause)

    async def _tell(self, session: aiohttp.ClientSession, due: _Due) -> None:
        body = exact.dumps({"payment_id": due.payment_id, "status": due.status})
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Internal-Signature": signature}
        try:
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                last, told = str(answer.status), answer.status // 100 == _TOLD
        except (TimeoutError, aiohttp.ClientError) as error:
            last, told = type(error).__name__, False
        pause = min(_FIRST_PAUSE_S * 2.0 ** min(due.attempts - 1, 20), _LONGEST_PAUSE_S)
        await self._book.change(_note, due.id, last, None if told else pause)


def _claim_due(tx: Tx) -> tuple[list[_Due], float]:
    """The rows to send now, each lent to this process for longer than a call may take; and when to look again."""
    now = now_us()
    rows = tx.execute(
        "SELECT id, payment_id, status, attempts + 1 FROM webhooks WHERE told_us IS NULL AND next_us <= ?"
        " ORDER BY next_us, id LIMIT ?",
        (now, _AT_ONCE),
    ).fetchall()
    lent = now + round((_LIMIT_S + 1) * MICROSECONDS)
    tx.executemany("UPDATE webhooks SET next_us = ?, attempts = attempts + 1 WHERE id = ?", [(lent, row[0]) for row in rows])
    return [_Due(*row) for row in rows], 0.0 if rows else _until_next(tx, now)


def _until_next(tx: Tx, now: int) -> float:
    soonest: int | None = tx.execute("SELECT min(next_us) FROM webhooks WHERE told_us IS NULL").fetchone()[0]
    if soonest is None:
        return _LOOK_AGAIN_S
    return min(max((soonest - now) / MICROSECONDS, 0.01), _LOOK_AGAIN_S)


def _note(tx: Tx, id_: int, last: str, pause: float | None) -> None:
    """What came of one sending; without a pause it was told and is done."""
    now = now_us()
    if pause is None:
        tx.execute("UPDATE webhooks SET last = ?, told_us = ? WHERE id = ?", (last, now, id_))
    else:
        due = now + round(pause * MICROSECONDS)
        tx.execute("UPDATE webhooks SET last = ?, next_us = ? WHERE id = ?", (last, due, id_))

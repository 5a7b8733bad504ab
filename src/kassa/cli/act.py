"""How an operator's command acts: inside an assembled Kassa, on the database that is meant, and with the change shown.

`DATABASE_URL`, else that of a running `kassa dev`, else the embedded one; whatever a room refuses becomes one kind line.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kassa.cli.show import CommandError, people, say_json, table
from kassa.cli.where import database
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.audit import Hand
    from kassa.kit.context import Context
    from kassa.kit.database import Tx
    from kassa.kit.money import Money
    from kassa.merchants import Merchant

T = TypeVar("T")

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]
Why = Annotated[str | None, typer.Option(help="Why; kept for ever in the audit log, so name no buyer.")]
ACTING = ("DATABASE_URL", "KASSA_SECRET")
"""What a command needs that changes something: its line in the audit log is sealed with the secret."""
_AMOUNT = re.compile(r"[0-9]{1,18}(\.[0-9]{1,8})?")
_WHOLE = re.compile(r"(?i)\b(id|sum|about|age|case)\b")
_WIDE = 240
"""Characters of a line that is not printed to a terminal."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def inside(work: Callable[[Context], Awaitable[T]], *, need: tuple[str, ...] = ("DATABASE_URL",)) -> T:
    """Run `work` with a context; at its end what goes on in the background is waited for (10 s). Raises `CommandError`."""
    with database(Settings.load(True, need=need)) as settings:
        return asyncio.run(_run(settings, work))


async def _run(settings: Settings, work: Callable[[Context], Awaitable[T]]) -> T:
    from kassa import migrate
    from kassa.bootstrap import assemble
    from kassa.kit.database import DatabaseAway
    from kassa.kit.errors import KassaError

    await migrate.check(settings.database_url)
    async with assemble(settings) as kassa:
        try:
            return await work(kassa.ctx)
        except DatabaseAway:
            raise
        except KassaError as error:
            more = ", ".join(f"{name}: {value}" for name, value in error.details.items())
            raise CommandError(error.message.rstrip(".") + (f" ({more})" if more else "")) from error


@dataclass(slots=True)
class Change:
    """A change by an operator while its transaction is open. `what` gets the small facts for its line in the audit log."""

    tx: Tx
    hand: Hand
    what: dict[str, Any] = field(default_factory=dict)
    changed: bool = True
    """False: nothing was there to change, so there is nothing to tell; or the room that was given `hand` tells it by itself."""


@contextlib.asynccontextmanager
async def changing(
    ctx: Context, name: str, act: str, merchant_id: str, subject: str, why: str | None = None
) -> AsyncIterator[Change]:
    """A transaction called `name` in which an operator does `act`: the only way for a command to change something by itself.

    Its line in the audit log is written with it.
    """
    from kassa import audit

    async with ctx.db.transaction(name) as tx:
        change = Change(tx, hand_of(ctx, why))
        yield change
        if change.changed:
            audit.note(tx, change.hand, merchant_id, act, subject, **change.what)


def hand_of(ctx: Context, why: str | None = None) -> Hand:
    """The operator's hand, for acts that open their own transactions. With `sudo` it is whoever typed it."""
    from kassa.audit import By, Hand

    name = (os.environ.get("SUDO_USER") if hasattr(os, "getuid") and os.getuid() == 0 else None) or _login()
    return Hand(ctx.keys, By("operator", name[:64]), (why or "").strip() or None)


def _login() -> str:
    """The login of this process's user, or its number where it has no name."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # no such system, or a container without names
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else getpass.getuser()


def id_of(text: str, what: str) -> uuid.UUID:
    """An id as it was typed. Raises `CommandError` for anything else; `what` names the argument."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise CommandError(f"{what} must be an id such as 019b76da-a801-7d90-a2b6-4c7f1e3d5b62") from None


def money_of(text: str, currency: str, what: str) -> Money:
    """An amount as it was typed, in major units. Raises `CommandError` for one that the currency cannot have."""
    from kassa.kit.money import InvalidMoney, from_major

    if not _AMOUNT.fullmatch(text):
        raise CommandError(f"{what} must be an amount in major units, such as 9.99")
    try:
        return from_major(Decimal(text), currency)
    except InvalidMoney as error:
        raise CommandError(f"{what}: {error.message.rstrip('.')}") from None


def currency_of(text: str) -> str:
    """A currency's code. Raises `CommandError` for one that nobody knows."""
    from kassa.kit.money import InvalidMoney, exponent

    try:
        exponent(text.upper())
    except InvalidMoney:
        raise CommandError("--currency must be an ISO 4217 code such as USD") from None
    return text.upper()


def sum_text(minor: int | None, currency: str | None) -> str:
    """Minor units as people read them: `349.70 USD`; empty when nothing is known."""
    from kassa.kit.money import fixed_text

    return "" if minor is None or currency is None else f"{fixed_text(minor, currency)} {currency}"


def time_of(text: str | None, what: str, *, whole_day: bool) -> datetime | None:
    """A day or a time in UTC as it was typed; `whole_day`: a day means its end. Raises `CommandError`."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{what} must be a day such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    is_day = re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", text) is not None
    return found + timedelta(days=1) if whole_day and is_day else found


def age(since: datetime, now: datetime) -> str:
    """How long ago something was, in one unit: `40 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def moment(at: datetime | None) -> str:
    """A time in UTC to the second; empty for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def sheet(title: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table of what may have come from elsewhere: what looks like markup in it is printed as it is, None as nothing."""
    made = table(escape(title), columns, [["" if cell is None else escape(str(cell)) for cell in row] for row in rows])
    for column in made.columns:
        column.overflow = "fold"  # an id must not lose its end, however narrow the window is
        column.no_wrap = bool(_WHOLE.search(str(column.header)))
    return made


def reader() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough for all of it in a file or a pipe."""
    screen = people()
    if not screen.is_terminal:
        screen.width = max(screen.width, _WIDE)
    return screen


def say_change(as_json: bool, what: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, **more: Any) -> None:
    """Print the state before and after an act: a table for people, one line of JSON for scripts. None: there was nothing."""
    if as_json:
        say_json({"before": before, "after": after, **more})
        return
    fields = dict.fromkeys([*(before or {}), *(after or {})])
    rows = [(field, _shown(before, field), _shown(after, field)) for field in fields]
    reader().print(sheet(what, ("", "before", "after"), rows))


def _shown(state: Mapping[str, Any] | None, field: str) -> str:
    if state is None:
        return "-"
    value = state.get(field)
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


async def the_merchant(ctx: Context, merchant_id: str) -> Merchant:
    """The merchant of that id. Raises `MerchantMissing`."""
    from kassa import merchants
    from kassa.merchants.model import MerchantMissing

    found = await merchants.find(ctx.db, merchant_id)
    if found is None:
        raise MerchantMissing
    return found


def say_list(name: str, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows under their name: a table for people, one line of JSON for scripts."""
    if as_json:
        say_json({name: rows})
    else:
        list_rows(name.capitalize(), rows)


def list_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table whose columns are named by the first one's members."""
    if not rows:
        reader().print(f"{escape(title)}: none")
        return
    cells = [[", ".join(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows]
    reader().print(sheet(title, [name.replace("_", " ") for name in rows[0]], cells))

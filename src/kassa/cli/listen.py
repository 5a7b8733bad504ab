"""`kassa listen`: a merchant's events, as they happen, posted to a program on this machine that has no address in the world.

It reads the public feed with the merchant's key and posts each event as the deliverer would, signed with a secret that it prints.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kassa.cli.show import AsJson, CommandError, people, progress, say_json
from kassa.settings import Settings
from kassa.settings.kept import kept_secret

if TYPE_CHECKING:
    import aiohttp

    from kassa.events import Recorded
    from kassa.kit.egress import Egress, Outcome

_POLL_S = 0.5
_TIMEOUT_S = 15.0
_PATIENCE_S = 5.0
_AT_ONCE = 500
_DEMO_KEY = "sk_demo_1"
_AGENT = "Kassa/listen"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is followed, where it goes, and how it is signed."""

    api: str
    key: str
    types: tuple[str, ...]
    forward: str
    signing: bytes
    format: str
    as_json: bool


def listen(
    forward: Annotated[str, typer.Option(metavar="URL", help="Where each event is posted, such as http://localhost:3000/hook.")],
    kind: Annotated[
        list[str] | None, typer.Option("--type", help="Of this type or family, such as payment.paid or order.*; may be repeated.")
    ] = None,
    body: Annotated[
        Literal["payment", "event"], typer.Option("--format", help="As endpoints have it: the older payment body, or the envelope.")
    ] = "payment",
    url: Annotated[str | None, typer.Option(help="Where the server is.  [default: http://localhost:HTTP_PORT]")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a merchant's events through the public API, and post each to a program of yours, signed as webhooks are.

    The merchant is the one of the key in KASSA_API_KEY (the demo merchant's, if it is not set). The secret is kept for the next
    time; KASSA_LISTEN_SECRET sets another. Events from before it began are not sent, and one that is refused is not sent again.
    Ctrl-C ends it.

    ```sh
    kassa listen --forward http://localhost:3000/hook
    kassa listen --forward http://localhost:3000/hook --type "payment.*" --type order.paid --format event
    ```
    """
    from kassa.events.catalogue import TYPES, is_pattern

    for pattern in kind or ():
        if not is_pattern(pattern):
            raise CommandError(f"--type {pattern} is no type of event and no family, such as payment.paid or order.*")
    for name, given in (("--forward", forward), ("--url", url or "http://")):
        if not given.startswith(("http://", "https://")):
            raise CommandError(f"{name} must begin with http:// or https://")
    settings = Settings.load(True, need=())
    wanted = tuple(name for name in TYPES if any(pattern in {name, f"{name.partition('.')[0]}.*", "*"} for pattern in kind or ()))
    secret, signing = _secret(settings)
    api = (url or f"http://localhost:{settings.http_port}").rstrip("/")
    wish = _Wish(api, os.environ.get("KASSA_API_KEY") or _DEMO_KEY, wanted, forward, signing, body, as_json)
    progress().print(f"events of {api} go to {forward}, signed with {secret}; Ctrl-C ends it", style="dim", soft_wrap=True)
    asyncio.run(_follow(wish))


def _secret(settings: Settings) -> tuple[str, bytes]:
    """The secret as receivers are given it, and its key. Raises `CommandError` for one that is none."""
    from kassa.webhooks.sign import key_of, new_secret

    secret = os.environ.get("KASSA_LISTEN_SECRET") or kept_secret(settings.kassa_home, "listen_secret", new_secret)
    try:
        return secret, key_of(secret)
    except ValueError as error:
        raise CommandError(f"KASSA_LISTEN_SECRET: {error}") from None


async def _follow(wish: _Wish) -> None:
    from kassa.kit.egress import Egress
    from kassa.kit.neighbour import new_session

    async with new_session() as session, Egress(private=True) as egress:
        async for event in _news(session, wish):
            _say(event, await _post(egress, wish, event), wish.as_json)


async def _news(session: aiohttp.ClientSession, wish: _Wish) -> AsyncIterator[Recorded]:
    """Every event that is recorded from now on, in the order of the feed."""
    after = await _newest(session, wish)
    while True:
        page = await _page(session, wish, after, wish.types)
        for item in page["items"]:
            yield _recorded(item)
        after = page["next_after"]
        if not page["has_next"]:
            await asyncio.sleep(_POLL_S)


async def _newest(session: aiohttp.ClientSession, wish: _Wish) -> str | None:
    """Where the feed ends now; there is no way there but through it, some hundred events at a time."""
    after: str | None = None
    while True:
        page = await _page(session, wish, after, ())
        after = page["next_after"]
        if not page["has_next"]:
            return after


async def _page(session: aiohttp.ClientSession, wish: _Wish, after: str | None, types: tuple[str, ...]) -> dict[str, Any]:
    """A page of the feed; while the server is away it is asked again. Raises `CommandError` when it says no."""
    import aiohttp

    asked = [("limit", str(_AT_ONCE)), *([("after", after)] if after else []), *(("type", name) for name in types)]
    told = False
    while True:
        try:
            async with session.get(
                f"{wish.api}/api/v1/events",
                params=asked,
                headers={"X-Api-Key": wish.key},
                timeout=aiohttp.ClientTimeout(_TIMEOUT_S),
            ) as answer:
                if answer.status == 200:
                    return dict(await answer.json())
                if answer.status < 500 and answer.status != 429:
                    raise CommandError(f"{wish.api} does not show its events (status {answer.status}); is KASSA_API_KEY right?")
        except (aiohttp.ClientError, TimeoutError):
            pass
        if not told:
            progress().print(f"no Kassa answers at {wish.api}; it is asked again", style="dim", soft_wrap=True)
            told = True
        await asyncio.sleep(_PATIENCE_S if told else _POLL_S)


def _recorded(item: dict[str, Any]) -> Recorded:
    """An event as the feed shows it, back in the form that knows both of its bodies."""
    import orjson

    from kassa.events import Recorded

    return Recorded(
        str(item["merchant_id"]),
        uuid.UUID(item["id"]),
        item["subject"],
        item["sequence"],
        item["type"],
        item["version"],
        datetime.fromisoformat(item["occurred_at"]),
        orjson.dumps(item["data"]).decode(),
    )


async def _post(egress: Egress, wish: _Wish, event: Recorded) -> Outcome:
    from kassa.webhooks.delivery import signed_headers

    body = event.body() if wish.format == "payment" else event.envelope()
    headers = signed_headers(event, body, [wish.signing], at=int(time.time()), attempt=1, user_agent=_AGENT)
    return await egress.post(wish.forward, body, headers, timeout_s=_TIMEOUT_S, operators=True)


def _say(event: Recorded, outcome: Outcome, as_json: bool) -> None:
    answer = outcome.status_code if outcome.status_code is not None else outcome.error
    if as_json:
        say_json(
            {
                "event_id": event.event_id,
                "type": event.type,
                "subject": event.subject,
                "sequence": event.sequence,
                "status_code": outcome.status_code,
                "error": outcome.error,
                "duration_ms": outcome.duration_ms,
            }
        )
        sys.stdout.flush()
        return
    about, _, named = event.subject.partition(":")
    mark = "[green]✓[/]" if outcome.error is None else "[red]✗[/]"
    people().print(
        f"{event.occurred_at:%H:%M:%S}  {mark} {answer!s:<8}{outcome.duration_ms:>6} ms  {event.type:<24}"
        f"{about} …{named[-6:]} #{event.sequence}",
        soft_wrap=True,
    )

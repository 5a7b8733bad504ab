"""`kassa events`: the story of an order or a payment, events as they happen, and sending merchants again what they missed."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Why, changing, hand_of, id_of, inside, moment, reader, say_list, sheet, time_of
from kassa.cli.show import AsJson, CommandError, progress, say_json

if TYPE_CHECKING:
    from kassa.events import Recorded
    from kassa.kit.context import Context
    from kassa.timeline import Entry, Story
    from kassa.webhooks import Delivery

app = typer.Typer(
    name="events",
    no_args_is_help=True,
    help="""Events: what happened to an order or a payment, what happens now, and sending it to merchants again.

```sh
kassa events show ID
kassa events tail --type "payment.*"
```
""",
)

Merchant = Annotated[str | None, typer.Option(help="Of this merchant.  [default: all]")]
_POLL_S = 0.5
_MOST_ENDPOINTS = 1_000_000
_NOTABLE = (
    *("reason", "tracking_number", "carrier", "payment_status", "error", "ref", "sends", "undos"),
    *("attempts", "attempts_made", "last_status_code", "last_error", "next_attempt_at"),
)
"""Details that people are shown; scripts get all of them."""


@app.command()
def show(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The id of an order, a payment, a checkout or a refund.")],
    merchant: Merchant = None,
    as_json: AsJson = False,
) -> None:
    """Tell the whole story of an order or a payment: what happened, what was done, who was told; one numbered list, oldest first.

    Whichever id you have, all that belongs together is told. It only looks; nobody is asked.

    ```sh
    kassa events show 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    kassa events show 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --json | jq -r '.entries[].title'
    ```
    """
    given = id_of(wanted, "ID")

    async def work(ctx: Context) -> Story:
        return await _story(ctx, given, merchant)

    story = inside(work)
    if as_json:
        say_json(
            {
                "merchant_id": story.merchant_id,
                "checkout_id": story.checkout_id,
                "order_id": story.order_id,
                "payment_ids": story.payment_ids,
                "trace_ids": story.trace_ids,
                "entries": [_entry(entry) for entry in story.entries],
            }
        )
        return
    named = [("merchant", story.merchant_id), ("order", story.order_id), ("checkout", story.checkout_id)]
    named += [("payment", each) for each in story.payment_ids]
    named += [("trace", each) for each in story.trace_ids]
    screen, several = reader(), len(story.trace_ids) > 1
    screen.print(sheet("The story of", ("", ""), [(name, value) for name, value in named if value is not None]))
    rows = [
        (entry.number, moment(entry.at), entry.kind, entry.title, _short(entry.subject), _notable(entry, several=several))
        for entry in story.entries
    ]
    screen.print(sheet("", ("#", "at", "kind", "what", "about", "details"), rows), soft_wrap=True)


@app.command()
def tail(
    merchant: Merchant = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", help="Of this type or family, such as payment.paid or order.*; may be repeated.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="About this subject, such as order:ID, or only its ID; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow events as they happen, newest below, until Ctrl-C. With --json each line is one event as merchants get it.

    ```sh
    kassa events tail --merchant 1
    kassa events tail --type "refund.*" --type payment.declined --json
    ```
    """
    from kassa.events.catalogue import is_pattern

    for pattern in kind or ():
        if not is_pattern(pattern):
            raise CommandError(f"--type {pattern} is no type of event and no family, such as payment.paid or order.*")

    async def work(ctx: Context) -> None:
        from kassa.events.follow import Follower

        follower = Follower(merchant)
        await follower.begin(ctx)
        progress().print("following events; Ctrl-C ends it", style="dim")
        while True:
            events = await follower.news(ctx)
            for event in events:
                if _fits(event, kind or (), subject or ()):
                    _say(event, as_json)
            if not events:
                await asyncio.sleep(_POLL_S)

    try:
        inside(work)
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def replay(
    wanted: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The id of a delivery, or of an event: all of its deliveries.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="All deliveries of this endpoint that ended with --status.")] = None,
    status: Annotated[str | None, typer.Option(help="With --endpoint: failed or success.  [default: failed]")] = None,
    since: Annotated[str | None, typer.Option(help="With --endpoint: events from this day or time on (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="With --endpoint: events up to this day or time.")] = None,
    merchant: Merchant = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Send deliveries to merchants again, with their old ids, so that a merchant who has seen one drops it. Workers send them.

    What is repeated is sent once more. One that is being sent at this moment is left alone.

    ```sh
    kassa events replay 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    kassa events replay --endpoint 019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d --since 2026-01-31
    ```
    """
    if (wanted is None) == (endpoint is None):
        raise CommandError("name a delivery or an event by its ID, or all of an endpoint with --endpoint")
    if endpoint is not None:
        _replay_all(id_of(endpoint, "--endpoint"), merchant, status or "failed", since, until, why, as_json)
        return
    if any(each is not None for each in (status, since, until)):
        raise CommandError("--status, --since and --until go with --endpoint")
    given = id_of(wanted or "", "ID")

    async def work(ctx: Context) -> list[dict[str, Any]]:
        return await _replay_one(ctx, given, merchant, why)

    say_list("deliveries", inside(work, need=ACTING), as_json)


async def _story(ctx: Context, wanted: uuid.UUID, merchant: str | None) -> Story:
    from kassa import timeline
    from kassa.payments.requests import overview

    refund = await overview.refund_anywhere(ctx.db, wanted)
    found = wanted if refund is None else refund.payment_id
    owner = merchant or await timeline.whose(ctx.db, found)
    try:
        if owner is None:
            raise timeline.StoryMissing
        return await timeline.read_story(ctx.db, owner, found)
    except timeline.StoryMissing:
        of = f" of merchant {merchant}" if merchant else ""
        raise CommandError(f"there is no order, payment, checkout or refund{of} with this id") from None


def _entry(entry: Entry) -> dict[str, Any]:
    from kassa.kit.clock import rfc3339_micros

    return {
        "number": entry.number,
        "at": rfc3339_micros(entry.at),
        "kind": entry.kind,
        "title": entry.title,
        "subject": entry.subject,
        "sequence": entry.sequence,
        "details": entry.details,
    }


def _notable(entry: Entry, *, several: bool) -> str:
    found = [(name, entry.details[name]) for name in _NOTABLE if entry.details.get(name)]
    shown = [f"{name.replace('_', ' ')}: {_to_the_second(name, value)}" for name, value in found]
    if several and "trace_id" in entry.details:  # which of those that are named above
        shown.append(f"trace: …{entry.details['trace_id'][-6:]}")
    return ", ".join(shown)


def _to_the_second(name: str, value: object) -> str:
    return str(value)[:19].replace("T", " ") if name.endswith("_at") else str(value)


def _short(subject: str) -> str:
    """A subject by the end of its id, which is the part that differs."""
    about, _, named = subject.partition(":")
    return f"{about} …{named[-6:]}"


def _fits(event: Recorded, kinds: Sequence[str], subjects: Sequence[str]) -> bool:
    family = event.type.partition(".")[0]
    wanted = not kinds or bool({event.type, f"{family}.*", "*"} & set(kinds))
    return wanted and (not subjects or event.subject in subjects or event.subject.partition(":")[2] in subjects)


def _say(event: Recorded, as_json: bool) -> None:
    if as_json:
        line = event.envelope().decode()
    else:
        line = f"{moment(event.occurred_at)}  {event.merchant_id:>4}  {event.type:<24}{event.subject} #{event.sequence}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _replay_one(ctx: Context, wanted: uuid.UUID, merchant: str | None, why: str | None) -> list[dict[str, Any]]:
    from kassa import webhooks
    from kassa.events.follow import events_like

    like = await events_like(ctx.db, merchant, wanted)
    found = [
        delivery
        for owner in dict.fromkeys(owner for owner, _ in like)
        for delivery in await webhooks.deliveries_of(ctx.db, owner, [event_id for of, event_id in like if of == owner])
        if wanted in {delivery.event_id, delivery.delivery_id}
    ]
    if not found and wanted in {event_id for _, event_id in like}:
        raise CommandError("no endpoint was to be told of this event")
    if not found:
        raise CommandError("there is no such delivery or event")
    return [await _again(ctx, delivery, why, alone=len(found) == 1) for delivery in found]


async def _again(ctx: Context, delivery: Delivery, why: str | None, *, alone: bool) -> dict[str, Any]:
    """Send one again; where several were meant, one whose endpoint is disabled or gone only says so."""
    from kassa import webhooks
    from kassa.kit.errors import KassaError
    from kassa.webhooks.model import EndpointDisabled, EndpointMissing

    told = {
        "delivery_id": str(delivery.delivery_id),
        "merchant_id": delivery.merchant_id,
        "endpoint_id": str(delivery.endpoint_id),
        "event_type": delivery.event_type,
        "subject": delivery.subject,
        "before": delivery.status,
    }
    try:
        owner, subject = delivery.merchant_id, f"endpoint:{delivery.endpoint_id}"
        async with changing(ctx, "webhooks.replay", "delivery.replay", owner, subject, why) as change:
            change.changed = False  # it tells it itself, unless the delivery is being sent at this moment
            after = await webhooks.replay_delivery(
                change.tx, owner, delivery.endpoint_id, delivery.delivery_id, hidden=True, hand=change.hand
            )
    except (EndpointDisabled, EndpointMissing) as error:
        if alone:
            raise
        refused: KassaError = error
        return {**told, "after": delivery.status, "refused": refused.code}
    return {**told, "after": after.status, "refused": None}


def _replay_all(
    endpoint_id: uuid.UUID,
    merchant: str | None,
    status: str,
    since: str | None,
    until: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    if status not in {"failed", "success"}:
        raise CommandError("--status must be failed or success")
    begins, ends = time_of(since, "--since", whole_day=False), time_of(until, "--until", whole_day=True)
    if begins is not None and ends is not None and begins >= ends:
        raise CommandError("--since is not before --until")

    async def work(ctx: Context) -> int:
        from kassa import webhooks

        endpoints = await webhooks.all_endpoints(ctx.db, merchant, _MOST_ENDPOINTS)
        found = next((each for each in endpoints if each.endpoint_id == endpoint_id), None)
        if found is None:
            raise CommandError("there is no such endpoint; see `kassa merchants endpoints`")
        hand = hand_of(ctx, why)
        return await webhooks.replay_range(ctx, found.merchant_id, endpoint_id, status, begins, ends, hidden=True, hand=hand)

    replayed = inside(work, need=ACTING)
    if as_json:
        say_json({"replayed": replayed})
    else:
        reader().print(f"{replayed} {'delivery is' if replayed == 1 else 'deliveries are'} sent again")

"""`kill -9` at every named point of every story: nothing is lost, nothing is charged twice, everything comes to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from . import at_payme, merchants, receipts, stories, told
from .hooks import Hooks
from .playing import WITHIN_S, Chapter, Town
from .stories import Story

Settings = dict[str, str]
SERVICES = ("payment", "inventory", "order")
LOST_ATTEMPT_S = 6 + 9
"""An attempt that was lost is believed to be under way for its time-out and 5 s; its delivery is due again then, in its order."""
LOST_LINK_S = 15 + 2
"""A worker that died while it asked for a link is believed to be at it for 15 s (payments contract, section 3)."""


@dataclass(frozen=True)
class Contents:
    """What one chapter tells. `shift_s`: the clock is moved on so far before the last life, because a charge that was never seen is
    believed to be lost only 15 s after it was sent, which is longer than what is promised for everything else."""

    stories: Sequence[Story]
    neighbours: tuple[str, ...] = ()
    shift_s: float = 0
    again: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    within_s: float = WITHIN_S
    hooks: bool = False
    """Every player is a merchant, too, with servers of its own (`hooks.py`); `HOOKS` in a setting is where they are."""
    broker: bool = False
    post: bool = False
    """There is a mail server."""
    ambassadors: bool = False
    """There is a service that judges ambassadors."""


TOLD = {"EMAIL_BACKEND": "none", "WEBHOOK_TIMEOUT_S": "1", "WEBHOOK_RETRY_SECONDS": "0,1,1,1,1,1"}
LETTERS = {
    "EMAIL_BACKEND": "mailgun",
    "PUBLIC_URL": "https://shop.example.com",  # as in any shop of several processes: letters name the same address
    "EMAIL_FROM": "Shop <shop@example.com>",
    "MAILGUN_URL": "HOOKS",
    "MAILGUN_DOMAIN": "mg.example.com",
    "MAILGUN_API_KEY": "key-of-nothing",
}
LOST = ("webhooks.reclaim:before_commit", "webhooks.reclaim:after_commit")
GIVEN_UP = ("webhooks.tidy:before_commit", "webhooks.tidy:after_commit")
FIVE_DAYS_S = 5 * 86400 + 60

CHAPTERS = {
    "nobody else, one call": Contents(stories.HERE, again=("checkout.settle:before_commit", "checkout.settle:after_commit")),
    "nobody else, a cart": Contents(stories.ORDERS, again=("checkout.finish:before_commit", "checkout.settle:after_commit")),
    "a link provider": Contents(stories.LINKS, ("link",)),
    "three services, all agree": Contents(stories.AGREEING, SERVICES, 20, ("payment.ask:after_call", "inventory:after_call")),
    "three services, one refuses": Contents(stories.REFUSING, SERVICES, 20, ("restock:after_call", "checkout.refund:after_commit")),
    "three services, one is silent": Contents(stories.SILENT, SERVICES, 20, ("order_service:before_call", "inventory:after_call")),
    "late money": Contents(stories.LATE, ("payment",), 20, ("checkout.refund:before_commit",)),
    "a product service": Contents(stories.PRODUCTS, ("product",), 0, ("take:after_call", "return:before_call")),
    "a notification service": Contents(stories.TOLD, ("notification",)),
    "merchants": Contents(
        merchants.COLLECTING, ("link",), 20, ("collect.look:before_commit", "refund:after_call"), within_s=LOST_LINK_S
    ),
    "merchants and late money": Contents(merchants.LATE, ("link",), settings={"PAYMENT_LINK_TTL_S": "600"}),
    "a report of nobody's payment": Contents(merchants.NOBODYS, ("link",)),
    "a service with keys of its own": Contents(merchants.BY_KEY),
    "webhooks: endpoints": Contents(told.KEPT, settings=TOLD, within_s=LOST_ATTEMPT_S, hooks=True),
    "webhooks: payments": Contents(told.TOLD, ("link",), again=LOST, settings=TOLD, within_s=LOST_ATTEMPT_S, hooks=True),
    "webhooks: servers that are gone, replays": Contents(
        told.TOLD_AGAIN, again=LOST[:1], settings=TOLD, within_s=LOST_ATTEMPT_S, hooks=True
    ),
    "webhooks: a server that never answers": Contents(
        told.FAILING,
        shift_s=FIVE_DAYS_S,
        again=GIVEN_UP,
        settings=TOLD | {"WEBHOOK_RETRY_SECONDS": ",".join("0" * 10)},
        within_s=LOST_ATTEMPT_S,
        hooks=True,
    ),
    "webhooks: the operator's endpoint": Contents(
        told.OPERATORS,
        ("link",),
        settings=TOLD | {"MERCHANT_CALLBACK_URL": "HOOKS/ok/all"},
        within_s=LOST_ATTEMPT_S,
        hooks=True,
    ),
    "webhooks through the broker": Contents(
        told.RELAYED, ("link",), settings=TOLD, within_s=LOST_ATTEMPT_S, hooks=True, broker=True
    ),
    "Payme": Contents(at_payme.PAYING, again=("checkout.withdraw:after_commit",), settings=at_payme.CASHBOX),
    "Payme, late": Contents(at_payme.LATE, settings=at_payme.CASHBOX),
    "Payme lets go": Contents(at_payme.LET_GO, settings=at_payme.CASHBOX),
    "ambassadors that go": Contents(at_payme.GONE, settings=at_payme.CASHBOX),
    "a service of ambassadors": Contents(at_payme.ASKED, settings=at_payme.CASHBOX, ambassadors=True),
    "Payme's receipts: given back": Contents(receipts.CANCELLED, shift_s=20),
    "Payme's receipts: queued": Contents(receipts.QUEUED),
    "Payme's receipts: paid": Contents(receipts.PAID),
    "letters": Contents(told.LETTERS, ("user",), settings=LETTERS, hooks=True),
    "letters by SMTP": Contents(told.POSTED, hooks=True, post=True),
}


@pytest.mark.parametrize("name", CHAPTERS)
def test_whatever_dies_wherever(
    open_town: Callable[..., Town],
    open_rooms: Callable[[], Settings],
    open_post: Callable[[Hooks], Settings],
    serve_ambassadors: Callable[[], Settings],
    name: str,
) -> None:
    contents = CHAPTERS[name]
    town = open_town(*contents.neighbours)
    town.settings |= contents.settings
    if contents.hooks:
        hooks = town.listen(sum(len(story.points) for story in contents.stories))
        town.settings = {setting: value.replace("HOOKS", hooks.url) for setting, value in town.settings.items()}
        if contents.post:
            town.settings |= open_post(hooks)
    if contents.ambassadors:
        town.settings |= serve_ambassadors()
    if contents.broker:
        town.settings |= open_rooms()
    chapter = Chapter(town, contents.shift_s, contents.again, contents.within_s)
    chapter.play(contents.stories)
    assert not chapter.wrong, "\n".join(chapter.wrong)

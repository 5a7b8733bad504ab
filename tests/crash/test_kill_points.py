"""`kill -9` at every named point of every story: nothing is lost, nothing is charged twice, everything comes to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from . import stories
from .playing import Chapter, Town
from .stories import Story

SERVICES = ("payment", "inventory", "order")


@dataclass(frozen=True)
class Contents:
    """What one chapter tells. `shift_s`: the clock is moved on so far before the last life, because a charge that was never seen is
    believed to be lost only 15 s after it was sent, which is longer than what is promised for everything else."""

    stories: Sequence[Story]
    neighbours: tuple[str, ...] = ()
    shift_s: float = 0
    again: tuple[str, ...] = ()


CHAPTERS = {
    "nobody else, one call": Contents(stories.HERE, again=("checkout.settle:before_commit", "checkout.settle:after_commit")),
    "nobody else, a cart": Contents(stories.ORDERS, again=("checkout.finish:before_commit", "checkout.settle:after_commit")),
    "a link provider": Contents(stories.LINKS, ("link",)),
    "three services, all agree": Contents(stories.AGREEING, SERVICES, 20, ("payment.ask:after_call", "inventory:after_call")),
    "three services, one refuses": Contents(stories.REFUSING, SERVICES, 20, ("checkout.refund:after_commit", "restock:after_call")),
    "three services, one is silent": Contents(stories.SILENT, SERVICES, 20, ("order_service:before_call", "inventory:after_call")),
    "late money": Contents(stories.LATE, ("payment",), 20, ("checkout.refund:before_commit",)),
    "a product service": Contents(stories.PRODUCTS, ("product",), 0, ("take:after_call", "return:before_call")),
    "a notification service": Contents(stories.TOLD, ("notification",)),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CHAPTERS)
def test_whatever_dies_wherever(open_town: Callable[..., Town], name: str) -> None:
    contents = CHAPTERS[name]
    chapter = Chapter(open_town(*contents.neighbours), contents.shift_s, contents.again)
    chapter.play(contents.stories)
    assert not chapter.wrong, "\n".join(chapter.wrong)

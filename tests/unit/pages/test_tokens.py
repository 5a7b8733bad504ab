"""Tokens in links: each opens one page, and only under the secret that made it or its successor."""

from __future__ import annotations

import re
import uuid

import pytest

from kassa.kit.secrets import Keys
from kassa.pages.buyer import tokens

OLD, NEW = b"o" * 32, b"n" * 32
KEYS = Keys(NEW)
ORDER_ID = uuid.UUID(int=7)


def test_a_token_fits_into_a_link_and_is_the_same_each_time() -> None:
    made = tokens.make(KEYS, tokens.ORDER, "1", ORDER_ID)
    assert re.fullmatch("[A-Za-z0-9_-]{32}", made)
    assert made == tokens.make(KEYS, tokens.ORDER, "1", str(ORDER_ID))
    assert tokens.is_good(KEYS, tokens.ORDER, "1", ORDER_ID, made)


@pytest.mark.parametrize(
    ("kind", "merchant", "subject"),
    [("payment", "1", ORDER_ID), ("order", "2", ORDER_ID), ("order", "1", uuid.UUID(int=8)), ("order1", "", ORDER_ID)],
)
def test_it_opens_nothing_else(kind: str, merchant: str, subject: uuid.UUID) -> None:
    made = tokens.make(KEYS, tokens.ORDER, "1", ORDER_ID)
    assert not tokens.is_good(KEYS, kind, merchant, subject, made)


@pytest.mark.parametrize("shown", ["", "x", "ä", "\ud800", "A" * 32, "A" * 10_000])
def test_what_is_no_token_is_none(shown: str) -> None:
    assert not tokens.is_good(KEYS, tokens.ORDER, "1", ORDER_ID, shown)


def test_parts_cannot_be_moved_from_one_to_the_next() -> None:
    assert tokens.make(KEYS, "order", "1", "23") != tokens.make(KEYS, "order", "12", "3")
    assert tokens.make(KEYS, "order", "1:1", "2") != tokens.make(KEYS, "order", "1", "1:2")


def test_links_open_while_the_secret_is_replaced_and_not_after() -> None:
    made = tokens.make(Keys(OLD), tokens.PAYMENT, "1", ORDER_ID)
    assert tokens.is_good(Keys(NEW, OLD), tokens.PAYMENT, "1", ORDER_ID, made)
    assert not tokens.is_good(Keys(NEW), tokens.PAYMENT, "1", ORDER_ID, made)

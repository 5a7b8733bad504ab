"""Whose address may be written to, by what name, and when a notice is tried again."""

from __future__ import annotations

import pytest

from kassa.notices import Contact
from kassa.notices.model import usable_email, usable_name
from kassa.notices.ways.mail import Sender

from .orders_to_write_of import notice

DAY_S = 24 * 3600


@pytest.mark.parametrize(
    "address",
    [
        "asha@example.com",
        "a+b.c-d_e=f@mail.example.co.in",
        "o'brien@example.com",
        "jürgen@example.com",
        "asha@bücher.example",
        "asha@localhost",
        "x" * 64 + "@" + "y" * 60 + ".com",
    ],
)
def test_one_plain_address_may_be_written_to(address: str) -> None:
    assert usable_email(address) == address


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "asha",
        "@example.com",
        "asha@",
        "a@b@example.com",
        "asha@example.com\r\nBcc: all@example.com",
        "asha\n@example.com",
        "asha@exam\x00ple.com",
        "asha@example.com\x7f",
        "as ha@example.com",
        "asha@example.com, bob@example.com",
        "asha,bob@example.com",
        "asha;bob@example.com",
        "<asha@example.com>",
        "Asha<asha@example.com",
        '"asha"@example.com',
        "asha@[127.0.0.1]",
        "asha(x)@example.com",
        "undisclosed:asha@example.com",
        "asha@example..com",
        "asha@.example.com",
        "asha@example.com.",
        "asha@-example.com",
        "asha@" + "y" * 64 + ".com",
        "x" * 65 + "@example.com",
        "asha@" + ".".join(["y" * 60] * 5) + ".com",
        "asha@example.com\u2028",
        "as\ud800ha@example.com",
        "=?utf-8?q?=0d=0abcc=3a?=@example.com",
    ],
)
def test_nothing_else_may(address: str | None) -> None:
    assert usable_email(address) is None


@pytest.mark.parametrize("name", ["Asha Rao", "José", "李小龍", "O'Brien, Jr.", "  Asha  ", "نازنین"])
def test_people_have_all_kinds_of_names(name: str) -> None:
    assert usable_name(name) == name.strip()


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "   ",
        "Asha\r\nBcc: all@example.com",
        "Asha\x00",
        "Asha\x1b[31m",
        "visit https://evil.example",
        "bob@example.com",
        "<b>Asha</b>",
        "Asha\N{RIGHT-TO-LEFT OVERRIDE}",
        "A" * 61,
        "As\ud800ha",
        "=?utf-8?q?=0d=0aBcc:?=",
        "A\u2028B",
    ],
)
def test_what_is_no_name_is_not_used_as_one(name: str | None) -> None:
    assert usable_name(name) is None


def test_a_bad_address_does_not_take_the_name_with_it() -> None:
    assert Contact("7", "nobody", "Asha").usable() == Contact("7", None, "Asha")
    assert Contact("7", "asha@example.com", "A\nB").usable() == Contact("7", "asha@example.com", None)


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("Hill Road Store <shop@example.com>", Sender("Hill Road Store", "shop@example.com")),
        ('"Hill, Road" <shop@example.com>', Sender("Hill, Road", "shop@example.com")),
        ("shop@example.com", Sender("example.com", "shop@example.com")),
        ("<shop@example.com>", Sender("example.com", "shop@example.com")),
    ],
)
def test_a_sender_is_a_name_and_an_address(text: str, sender: Sender) -> None:
    assert Sender.read(text) == sender


@pytest.mark.parametrize(
    "text", ["", "shop", "Shop <shop>", "Shop <a@b.c> <d@e.f>", "Shop shop@example.com", "S\nhop <shop@example.com>"]
)
def test_what_is_no_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an e-mail address"):
        Sender.read(text)


def test_a_notice_is_tried_for_three_days_ever_more_slowly() -> None:
    waits = [notice("order.paid", attempts=n).wait_s for n in range(1, 9)]
    assert waits == [1, 5, 30, 120, 600, 1800, 3600, 3600]
    assert notice("order.paid", attempts=70, age_s=3 * DAY_S - 1).wait_s == 3600
    assert notice("order.paid", attempts=71, age_s=3 * DAY_S + 1).wait_s is None

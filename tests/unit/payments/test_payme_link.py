"""The link that opens Payme's checkout (Merchant API, 10.1): what it says, how it is written, and what is refused."""

from __future__ import annotations

import base64
import string
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.payments.payme import link

BOX, ORDER = "650000000000000000000001", "019b76da-a800-7c3e-9f51-2d8e6a4b7c10"


def made(**changes: Any) -> str:
    given = {"cashbox_id": BOX, "field": "order_id", "value": ORDER, "amount": 1_500_000, "is_test": False} | changes
    return link(**given)


def said(url: str) -> str:
    """What stands in a link, read as strictly as it is to be written."""
    encoded = url.rpartition("/")[2] if url.count("/") == 3 else url.split("/", 3)[3]
    return base64.b64decode(encoded, validate=True).decode()


def test_the_example_of_the_specification() -> None:
    assert made() == (
        "https://checkout.paycom.uz/bT02NTAwMDAwMDAwMDAwMDAwMDAwMDAwMDE7YWMub3JkZXJfaWQ9MDE5Yjc2ZGEtYTgwMC03YzNlLTlmNTEtMmQ4ZTZhNGI3"
        "YzEwO2E9MTUwMDAwMA=="
    )


def test_the_example_of_the_purchases_contract() -> None:
    assert made(amount=7_500_000, is_test=True) == (
        "https://test.paycom.uz/bT02NTAwMDAwMDAwMDAwMDAwMDAwMDAwMDE7YWMub3JkZXJfaWQ9MDE5Yjc2ZGEtYTgwMC03YzNlLTlmNTEtMmQ4ZTZhNGI3YzEw"
        "O2E9NzUwMDAwMA=="
    )


def test_what_is_not_set_is_left_out() -> None:
    assert said(made()) == f"m={BOX};ac.order_id={ORDER};a=1500000"
    assert said(made(language=None, return_url=None, return_after_ms=None)) == f"m={BOX};ac.order_id={ORDER};a=1500000"


def test_what_is_set_comes_in_the_order_of_the_specification() -> None:
    url = made(language="uz", return_url="https://shop.example/back", return_after_ms=0)
    assert said(url) == f"m={BOX};ac.order_id={ORDER};a=1500000;l=uz;c=https://shop.example/back;ct=0"


def test_a_return_address_that_is_empty_is_none() -> None:
    assert ";c=" not in said(made(return_url=""))


def test_a_semicolon_of_the_return_address_does_not_end_it() -> None:
    assert said(made(return_url="https://shop.example/back;a=1?x=1;2")).endswith(";c=https://shop.example/back%3Ba=1?x=1%3B2")


def test_placeholders_of_the_return_address_stay() -> None:
    assert said(made(return_url="https://shop.example/:transaction/:account.order_id")).endswith("/:transaction/:account.order_id")


def test_another_field_and_its_value() -> None:
    assert ";ac.purchase_id=A_b.c:1-2;" in said(made(field="purchase_id", value="A_b.c:1-2"))


@pytest.mark.parametrize("length", range(1, 7))
def test_padding_is_kept_and_nothing_is_escaped(length: int) -> None:
    url = made(value="x" * length)
    encoded = url.removeprefix("https://checkout.paycom.uz/")
    assert len(encoded) % 4 == 0
    assert set(encoded) <= set(string.ascii_letters + string.digits + "=")
    assert said(url) == f"m={BOX};ac.order_id={'x' * length};a=1500000"


@pytest.mark.parametrize("amount", [0, -1, True, False, 1.0, 19.99, "100", Decimal(100), None])
def test_an_amount_is_a_whole_number_above_zero(amount: Any) -> None:
    with pytest.raises(ValueError, match="amount"):
        made(amount=amount)


@pytest.mark.parametrize("value", ["", "a;a=1", "a=b", "a b", " a", "a\n", "ä", "a/b", "a+b", "a\x00", "x" * 65, "%3B"])
@pytest.mark.parametrize("member", ["value", "cashbox_id", "field"])
def test_what_could_begin_a_member_of_its_own_is_refused(member: str, value: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        made(**{member: value})


@pytest.mark.parametrize("language", ["", "RU", "de", "ru;a=1", "r"])
def test_there_are_three_languages(language: str) -> None:
    with pytest.raises(ValueError, match="language"):
        made(language=language)


@pytest.mark.parametrize("delay", [-1, 1.5, True, "15"])
def test_a_delay_is_a_whole_number(delay: Any) -> None:
    with pytest.raises(ValueError, match="delay"):
        made(return_after_ms=delay)


def test_characters_that_a_path_would_need_escaped_are_avoided_by_another_order() -> None:
    """`?` and `~` on a third byte become `/` and `+` of base64; a member in front of the address moves them to another place."""
    found = set()
    for tail in ("?", "a?", "aa?", "~", "a~", "aa~", ">", "?>~"):
        url = made(return_url=f"https://shop.example/{tail}", language="ru")
        encoded = url.removeprefix("https://checkout.paycom.uz/")
        assert "/" not in encoded or tail == "?>~"
        members = said(url).split(";")
        assert members[:3] == [f"m={BOX}", f"ac.order_id={ORDER}", "a=1500000"]
        assert sorted(members[3:]) == sorted([f"c=https://shop.example/{tail}", "l=ru"])
        found.add(tuple(member.partition("=")[0] for member in members[3:]))
    assert ("l", "c") in found


@given(
    tail=st.text(alphabet="?~>ab&=/;ü", max_size=12),
    language=st.sampled_from([None, "ru", "uz", "en"]),
    delay=st.none() | st.integers(0, 99_999),
    amount=st.integers(1, 10**13),
)
def test_whatever_the_options_are_all_of_them_are_said_once(
    tail: str, language: str | None, delay: int | None, amount: int
) -> None:
    url = made(return_url=f"https://shop.example/{tail}", language=language, return_after_ms=delay, amount=amount)
    assert url == made(return_url=f"https://shop.example/{tail}", language=language, return_after_ms=delay, amount=amount)
    members = [member.partition("=")[::2] for member in said(url).split(";")]
    wanted = {"m": BOX, "ac.order_id": ORDER, "a": str(amount), "c": f"https://shop.example/{tail}".replace(";", "%3B")}
    wanted |= {"l": language} if language else {}
    wanted |= {"ct": str(delay)} if delay is not None else {}
    assert dict(members) == wanted
    assert len(members) == len(wanted)

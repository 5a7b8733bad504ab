"""Letters in each language: the same messages, whole, with money and dates as its readers write them."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kassa import notices
from kassa.kit.languages import LANGUAGES
from kassa.notices.letters import WORDS, Letter, amount_text, compose

from .orders_to_write_of import ASHA, notice, order

FOLDER = Path(notices.__file__).parent / "templates" / "words"
EVENTS = sorted(WORDS)
OTHERS = sorted(set(LANGUAGES) - {"en"})
CYRILLIC = re.compile("[\u0400-\u04ff]")
ENGLISH = re.compile(
    r"\b(?:your|the|order|payment|total|thank|refund\w*|delivery|expected|carrier|tracking|card|you)\b", re.IGNORECASE
)
LINK = "https://shop.example.com/track/1?t=abc&x=1"


def letter(event: str, language: str, *, link: str | None = None, **other: object) -> Letter:
    amount = "49.90" if event in {"payment.refunded", "refund.succeeded"} else None
    return compose(notice(event, amount=amount), order(**other), replace(ASHA, language=language), "Lola", link)


def test_every_language_has_the_same_files() -> None:
    files = {code: {each.name for each in (FOLDER / code).iterdir()} for code in LANGUAGES}
    assert files["en"] == {f"{name}.txt" for name in WORDS.values()} | {"letter.toml"}
    assert all(found == files["en"] for found in files.values())
    assert {each.name for each in FOLDER.iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("method", ["credit_card", "debit_card", "cash_on_delivery", "link:stripe", "payme", "net_banking"])
def test_a_letter_is_wholly_in_the_language_of_its_reader(event: str, language: str, method: str) -> None:
    for paid in ("paid", "pending"):
        said = letter(event, language, link=LINK, payment_method=method, payment_status=paid, tracking_number="A1", carrier="Post")
        text = (said.subject + said.text).replace(LINK, "")
        assert not ENGLISH.search(text), text
        assert bool(CYRILLIC.search(text)) == (language == "ru")
        assert f'<html lang="{language}">' in said.html
        assert "ORD-20260102-ABCD1234" in said.subject
        assert len(said.subject) <= 70
        assert "Asha Rao" in said.text
        assert "249,70\N{NO-BREAK SPACE}₹" in said.text


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("event", EVENTS)
def test_a_letter_greets_nobody_whose_name_is_not_known(event: str, language: str) -> None:
    said = compose(notice(event, amount="1"), order(), replace(ASHA, name=None, language=language), "Lola").text
    assert "None" not in said
    assert not re.search(r" [,!:.] |,,|^,|^!|Здравствуйте|Assalomu", said, re.MULTILINE)


def test_dates_and_money_are_written_as_readers_write_them() -> None:
    days = {code: letter("order.paid", code).text for code in LANGUAGES}
    assert "2 January 2026" in days["en"]
    assert re.search(r"2 января 2026\s", days["ru"])
    assert "2-yanvar, 2026" in days["uz"]
    blank = "\N{NO-BREAK SPACE}"
    assert amount_text(123456789, "UZS", "uz") == f"1{blank}234{blank}567,89{blank}so\N{MODIFIER LETTER TURNED COMMA}m"
    assert amount_text(123456789, "UZS", "ru") == f"1{blank}234{blank}567,89{blank}UZS"
    assert amount_text(999999900, "INR", "ru") == f"9{blank}999{blank}999,00{blank}₹"
    assert amount_text(500, "JPY", "ru") == f"500{blank}¥"
    assert amount_text(1250, "KWD", "uz") == f"1,250{blank}KWD"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_letter_leads_to_the_page_of_its_order_where_there_is_one(language: str) -> None:
    said = letter("order.shipped", language, link=LINK)
    assert LINK in said.text.splitlines()
    assert re.findall(r'href="([^"]*)"', said.html) == [html.escape(LINK)]
    without = letter("order.shipped", language)
    assert "http" not in without.text
    assert "<a " not in without.html


def test_who_reads_an_unknown_language_is_written_to_in_english() -> None:
    assert replace(ASHA, language="xx").usable().language == "en"
    assert replace(ASHA, language="../en").usable().language == "en"
    assert replace(ASHA, language="uz").usable().language == "uz"

"""Logs: nothing private is ever written, whoever logs it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from kassa.kit import logs


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    text, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("info", as_json=True, to=text)
    yield text
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


@pytest.mark.parametrize(
    "private",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "378282246310005",
        "joe.doe+x@example.co.uk",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpZCI6MX0.c2lnbmF0dXJl",
        "postgresql://kassa:pass@db/kassa",
        "sk_Zm9yLXRlc3RzLW9ubHktMDEyMzQ1Njc4OWFiY2RlZg",
        "whsec_Zm9yLXRlc3RzLW9ubHktMDEyMzQ1Njc4OWFi",
    ],
)
def test_private_text_is_hidden_wherever_it_stands(written: io.StringIO, private: str) -> None:
    log = logging.getLogger("kassa.test")
    log.warning("sent %s on", private)
    log.warning("sent", extra={"list": [{"deep": f"<{private}>"}]})
    structlog.get_logger("kassa.test").warning("sent", body=private)
    try:
        raise ValueError(f"Key ({private}) already exists")
    except ValueError as error:
        log.warning("failed", exc_info=error)
    secret = private.partition("@")[0] if "@db" in private else private
    assert secret not in written.getvalue()
    assert written.getvalue().count(logs.HIDDEN) >= 4


@pytest.mark.parametrize(
    "name",
    [
        "card_number",
        "cardCvv",
        "secret",
        "access_token",
        "password",
        "customer_email",
        "shippingAddress",
        "Authorization",
    ],
)
def test_a_private_name_hides_its_value(written: io.StringIO, name: str) -> None:
    structlog.get_logger("kassa").info("x", **{name: "123", "nested": {name: ["456"]}})
    (line,) = lines(written)
    assert line[name] == logs.HIDDEN
    assert line["nested"][name] == logs.HIDDEN


def test_ids_times_and_amounts_stay_readable(written: io.StringIO) -> None:
    known = "019b76da-9c40-7a11-8d02-501101016733 and 01911234-5678-7123-8123-123456789012 at 2024-01-15T10:30:00Z: 349.7"
    logging.getLogger("kassa").info(known, extra={"order_id": "019b76da-9c40-7a11-8d02-501101016733", "minor": 34970})
    (line,) = lines(written)
    assert line["event"] == known
    assert line["minor"] == 34970
    assert line["level"] == "info"


def test_a_number_as_long_as_a_card_is_hidden_too(written: io.StringIO) -> None:
    logging.getLogger("kassa").info("x", extra={"sent": 4111111111111111})
    assert lines(written)[0]["sent"] == logs.HIDDEN


def test_what_is_below_the_level_is_not_written(written: io.StringIO) -> None:
    logging.getLogger("kassa").debug("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    assert written.getvalue() == ""

"""Logs: nothing private is ever written, whoever logs it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from kassa.kit import logs
from kassa.kit.context import concerning, concerns


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


def test_a_line_names_what_the_work_is_about(written: io.StringIO) -> None:
    log = logging.getLogger("kassa.test")
    with concerning(merchant_id="7"):
        concerns(order_id=uuid.UUID(int=3), payment_id=None)
        log.info("in the middle")
        log.info("of another", extra={"order_id": "9"})
    log.info("behind it")
    first, second, third = lines(written)
    assert (first["merchant_id"], first["order_id"]) == ("7", str(uuid.UUID(int=3)))
    assert "payment_id" not in first
    assert (second["merchant_id"], second["order_id"]) == ("7", "9")
    assert not {"merchant_id", "order_id"} & third.keys()


async def test_work_that_was_begun_goes_on_with_the_ids_of_its_beginning_and_leaves_nothing_behind(written: io.StringIO) -> None:
    log = logging.getLogger("kassa.test")

    async def work(order_id: str) -> None:
        concerns(order_id=order_id)
        await asyncio.sleep(0)
        log.info("done")

    concerns(merchant_id="7")
    await asyncio.gather(work("1"), work("2"))
    log.info("all done")
    found = [(line["merchant_id"], line.get("order_id")) for line in lines(written)]
    assert found == [("7", "1"), ("7", "2"), ("7", None)]


def test_lines_are_counted_by_level(written: io.StringIO) -> None:
    def count(level: str) -> float:
        return REGISTRY.get_sample_value("kassa_log_lines_total", {"level": level}) or 0

    before = count("warning"), count("error")
    logging.getLogger("kassa.test").warning("once")
    structlog.get_logger("kassa.test").error("and again")
    assert (count("warning") - before[0], count("error") - before[1]) == (1, 1)
    assert len(lines(written)) == 2

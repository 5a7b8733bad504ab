"""The document of the events is complete, says what is sent, and is the committed one."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.unit.api.asking import an_app, ask

from kassa.api.asyncapi import FILE, document, text_of
from kassa.events.catalogue import FAMILIES, TYPES, routing_key
from kassa.events.schemas import DATA, DIALECT, SHAPES, SUBJECTS, schema_of

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "apis" / FILE
PAYMENT = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
EXAMPLE: dict[str, Any] = {
    "id": "019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d",
    "type": "payment.paid",
    "version": 1,
    "subject": f"payment:{PAYMENT}",
    "sequence": 3,
    "occurred_at": "2026-01-01T00:00:02.000000Z",
    "merchant_id": 1,
    "data": {
        "payment_id": PAYMENT,
        "order_id": 1001,
        "status": 2,
        "status_name": "PAYMENT_FINISHED",
        "state": "paid",
        "provider": "stripe",
        "amount": "2",
        "price": "349.70",
        "currency": "USD",
        "captured": "349.70",
        "refunded": "0.00",
        "reason": None,
    },
}
"""The example of the webhooks contract, section 1."""


def at(whole: Any, ref: str) -> Any:
    """What a reference leads to. Raises `KeyError` where it leads nowhere."""
    for part in ref.removeprefix("#/").split("/"):
        whole = whole[part]
    return whole


def test_the_committed_document_is_the_present_one() -> None:
    wrong = "write it anew: kassa.api.asyncapi.write(Path('docs/apis'))"
    assert COMMITTED.read_text(encoding="utf-8") == text_of(), wrong


def test_every_type_has_a_shape_a_subject_and_a_message() -> None:
    whole = document()
    assert set(DATA) == set(TYPES)
    assert set(SUBJECTS) == set(FAMILIES)
    assert set(DATA.values()) <= set(SHAPES)
    for name in TYPES:
        payload = whole["components"]["messages"][name]["payload"]
        assert payload["properties"]["type"] == {"const": name}
        assert payload["properties"]["data"] == {"$ref": f"#/components/schemas/{DATA[name]}"}
    assert set(whole["components"]["messages"]) == {*TYPES, "payment"}


def test_every_reference_leads_somewhere_and_everything_is_used() -> None:
    whole = document()
    refs = set(re.findall(r'"\$ref": "(#[^"]+)"', json.dumps(whole)))
    assert refs
    for ref in refs:
        at(whole, ref)
    assert {f"#/components/schemas/{name}" for name in whole["components"]["schemas"]} <= refs
    assert {f"#/components/messages/{name}" for name in whole["components"]["messages"]} <= refs


def test_operations_send_what_their_channels_carry() -> None:
    whole = document()
    assert whole["asyncapi"] == "3.0.0"
    for operation in whole["operations"].values():
        channel = at(whole, operation["channel"]["$ref"])
        named = {each["$ref"].rpartition("/")[2] for each in operation["messages"]}
        assert (operation["action"], named) == ("send", set(channel["messages"]))
    posted, published = (set(whole["channels"][name]["messages"]) for name in ("endpoint", "exchange"))
    assert posted == {*TYPES, "payment"}
    assert published == {name for name in TYPES if not name.startswith("payment.")} | {"payment"}


def test_the_exchange_names_every_routing_key() -> None:
    channel = document()["channels"]["exchange"]
    assert set(channel["parameters"]["routing_key"]["enum"]) == {*map(routing_key, TYPES), "delivery.retry"}
    assert channel["bindings"]["amqp"]["exchange"] == {"name": "payments", "type": "topic", "durable": True, "autoDelete": False}


@pytest.mark.parametrize("event_type", TYPES)
def test_every_schema_is_a_schema(event_type: str) -> None:
    schema = schema_of(event_type)
    assert schema["$schema"] == DIALECT
    jsonschema_rs.meta.validate(schema)


def test_the_contracts_example_fits_and_what_is_wrong_does_not() -> None:
    judge = jsonschema_rs.Draft202012Validator(schema_of("payment.paid"), validate_formats=True)
    judge.validate(EXAMPLE)
    judge.validate({**EXAMPLE, "a_member_of_tomorrow": 1})
    spoilt = [
        {**EXAMPLE, "type": "payment.declined"},
        {**EXAMPLE, "id": "evt-1"},
        {**EXAMPLE, "sequence": 0},
        {**EXAMPLE, "occurred_at": "yesterday"},
        {name: value for name, value in EXAMPLE.items() if name != "data"},
    ]
    for member, value in (("price", 349.7), ("status", 4), ("state", "lost"), ("order_id", None), ("currency", "usd")):
        other = copy.deepcopy(EXAMPLE)
        other["data"][member] = value
        spoilt.append(other)
    assert [each for each in spoilt if judge.is_valid(each)] == []


async def test_it_is_served_where_documents_are() -> None:
    heard = await ask(an_app(docs=True), "GET", "/asyncapi.json")
    assert (heard.status, heard.json) == (200, document())
    assert (await ask(an_app(), "GET", "/asyncapi.json")).status == 404

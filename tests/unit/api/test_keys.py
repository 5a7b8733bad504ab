"""The same wish is the same wish, however it is written; what must stay secret is not in its hash."""

from __future__ import annotations

from typing import Any

import pytest

from kassa.api.call import Call, Desk
from kassa.api.checkout.models import without_secrets as of_checkout
from kassa.api.keys import canonical, given_key, key_for
from kassa.api.orders.models import without_secrets as of_order
from kassa.kit.jsontext import parse
from kassa.kit.once import InvalidKey

from .asking import KEYS, context, scope_of

CARD, CODE = "4929123412348815", "7719"


def call(target: str = "/x", in_path: dict[str, str] | None = None, **headers: str) -> Call:
    scope = scope_of("PUT", target, {name.replace("_", "-"): value for name, value in headers.items()})
    scope["kassa.route"] = "/x/{id}"

    async def never(*_: Any) -> Any: ...

    return Call(scope, never, never, Desk(context(), None, None), in_path or {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a": 1, "b": [2, {"c": 3}]}', b' { "b":[2,{"c":3}],"a":1}'),
        (b'{"a": 99.90}', b'{"a": 99.9}'),
        (b'{"a": 5.0}', b'{"a": 5}'),
        (b'{"a": 1e2}', b'{"a": 100}'),
        (b'{"a": "\\u00e9"}', '{"a": "é"}'.encode()),
        (b'{"a": 123456789012345678901234567890}', b'{"a":  123456789012345678901234567890}'),
        (b'{"a": 1e400}', b'{"a": 10e399}'),
    ],
)
def test_the_same_value_is_the_same_text(one: bytes, other: bytes) -> None:
    assert canonical(parse(one)) == canonical(parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a": 1}', b'{"a": "1"}'),
        (b'{"a": 1.5}', b'{"a": "1.5"}'),
        (b'{"a": null}', b"{}"),
        (b'{"a": [1, 2]}', b'{"a": [2, 1]}'),
        (b'{"a": true}', b'{"a": 1}'),
    ],
)
def test_another_value_is_another_text(one: bytes, other: bytes) -> None:
    assert canonical(parse(one)) != canonical(parse(other))


def test_a_key_belongs_to_caller_verb_and_route_and_its_payload_to_everything_asked() -> None:
    first = key_for(call(in_path={"id": "1"}), "a-key-of-mine", "user:1", {"q": 1})
    assert first is not None
    assert (first.merchant_id, first.caller, first.operation, first.key) == ("1", "user:1", "PUT /x/{id}", "a-key-of-mine")
    others = [
        key_for(call(in_path={"id": "2"}), "a-key-of-mine", "user:1", {"q": 1}),
        key_for(call("/x?a=1", in_path={"id": "1"}), "a-key-of-mine", "user:1", {"q": 1}),
        key_for(call(in_path={"id": "1"}), "a-key-of-mine", "user:1", {"q": 2}),
    ]
    assert first.payload not in {other.payload for other in others if other}
    assert key_for(call(in_path={"id": "1"}), "a-key-of-mine", "user:1", {"q": 1}) == first
    assert key_for(call(), None, "user:1", {}) is None


@pytest.mark.parametrize(("sent", "key"), [("a-key-of-mine", "a-key-of-mine"), ('"a-key-of-mine"', "a-key-of-mine")])
def test_a_key_may_be_quoted(sent: str, key: str) -> None:
    assert given_key(call(Idempotency_Key=sent)) == key


@pytest.mark.parametrize("sent", ["", "short", "x" * 256, "two words", "café-café", '"short"'])
def test_a_malformed_key_is_none(sent: str) -> None:
    with pytest.raises(InvalidKey):
        given_key(call(Idempotency_Key=sent))


def test_two_keys_are_none() -> None:
    twice = call()
    twice.scope["headers"] = [(b"idempotency-key", b"key-number-1"), (b"idempotency-key", b"key-number-2")]
    with pytest.raises(InvalidKey):
        given_key(twice)


def test_an_orders_hash_knows_no_card_and_no_code() -> None:
    details = {
        "cardNumber": "4929-1234 1234 8815",
        "cvv": CODE,
        "CVC2": CODE,
        "securityCode": CODE,
        "card": {"number": int(CARD), "cvc": CODE, "all": [CARD, CARD]},
        "upiId": "asha@upi",
    }
    plain = canonical(of_order({"paymentMethod": "upi", "paymentDetails": details}, KEYS.fingerprint)).decode()
    assert CARD not in plain
    assert "8815" not in plain.replace(KEYS.fingerprint(CARD.encode()).hex(), "")
    assert CODE not in plain
    assert "asha@upi" in plain


def test_an_orders_hash_tells_cards_apart_and_not_how_they_are_written() -> None:
    def hashed(number: str) -> bytes:
        return canonical(of_order({"paymentDetails": {"cardNumber": number}}, KEYS.fingerprint))

    assert hashed("4929-1234 1234 8815") == hashed(CARD)
    assert hashed(CARD) != hashed("4929123412348816")


def test_a_checkouts_hash_knows_no_card_and_no_code() -> None:
    data = {"payment_method": {"type": "credit_card", "card_number": CARD, "card_expiry": "12/25", "card_cvv": CODE}, "items": []}
    plain = canonical(of_checkout(data, KEYS.fingerprint(CARD.encode()))).decode()
    assert CARD not in plain
    assert CODE not in plain
    assert "12/25" in plain
    assert data["payment_method"]["card_number"] == CARD  # type: ignore[index]

"""The same key is the same purchase: pressed twice, answered twice, charged once (section 3, rulings 24 and 25)."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .journeys import (
    DECLINED_CARD,
    Json,
    Shop,
    a_key,
    buy,
    changed,
    id_of,
    line,
    malformed,
    order_form,
    orders_of,
    problem,
    refusal,
    someone_signed_in,
    visitor,
)

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import DatabaseServer


def is_replay_of(second: httpx2.Response, first: httpx2.Response) -> None:
    assert second.headers.get("Idempotent-Replayed") == "true", second.headers
    assert "Idempotent-Replayed" not in first.headers
    assert (second.status_code, second.content) == (first.status_code, first.content)


def test_the_same_form_sent_again_gets_the_same_bytes(server: Shop) -> None:
    key, form = a_key(), order_form()
    with visitor(server) as guest:
        first, second, third = (buy(guest, form, key) for _ in range(3))
    assert first.status_code == 200, first.text
    is_replay_of(second, first)
    is_replay_of(third, first)


@pytest.mark.parametrize(
    "items",
    [
        [line("prod_nobody")],
        [line("prod_001", 1, 1)],
        [line("prod_soldout")],
        [line("prod_001", 11)],
    ],
    ids=["unknown product", "price", "stock", "payment"],
)
def test_a_final_refusal_is_repeated_byte_for_byte(server: Shop, items: list[Json]) -> None:
    key, form = a_key(), order_form(*items)
    with visitor(server) as guest:
        first, second = buy(guest, form, key), buy(guest, form, key)
    refusal(first, first.json()["detail"]["error"])
    is_replay_of(second, first)


def test_a_buyer_who_repeats_has_one_order(server: Shop) -> None:
    token, key, form = server.token(someone_signed_in()), a_key(), order_form()
    with visitor(server, token) as client:
        answers = [buy(client, form, key) for _ in range(4)]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert [order["id"] for order in orders_of(server, token)] == [answers[0].json()["order_id"]]


def test_without_a_key_every_post_is_a_purchase_of_its_own(server: Shop) -> None:
    token, form = server.token(someone_signed_in()), order_form(line("prod_011"))
    with visitor(server, token) as client:
        first, second = buy(client, form), buy(client, form)
    assert id_of(first) != id_of(second)
    assert "Idempotent-Replayed" not in second.headers
    assert len(orders_of(server, token)) == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("items.0.quantity", 3),
        ("items", [line("prod_011")]),
        ("items.0.price", 99.91),
        ("shipping_address.street", "Rua do Ouro"),
        ("payment_method.card_number", "4111111111111129"),
        ("payment_method.card_number", DECLINED_CARD),
        ("payment_method.card_expiry", "11/25"),
        ("payment_method.type", "debit_card"),
    ],
)
def test_another_body_under_the_same_key_is_refused_and_nothing_happens(server: Shop, path: str, value: Any) -> None:
    token, key, form = server.token(someone_signed_in()), a_key(), order_form()
    with visitor(server, token) as client:
        first = buy(client, form, key)
        other = buy(client, changed(form, path, value), key)
        again = buy(client, form, key)
    problem(other, 422, "Idempotency key reused")
    assert "Idempotent-Replayed" not in other.headers
    is_replay_of(again, first)
    assert len(orders_of(server, token)) == 1


def test_the_security_code_is_not_part_of_the_form(server: Shop) -> None:
    key, form = a_key(), order_form()
    with visitor(server) as guest:
        first = buy(guest, form, key)
        second = buy(guest, changed(form, "payment_method.card_cvv", "9876"), key)
    is_replay_of(second, first)


def test_the_same_form_in_other_letters_is_the_same_form(server: Shop) -> None:
    """White space and the order of members carry no meaning in JSON."""
    key, form = a_key(), order_form()
    shuffled = json.dumps(dict(reversed(form.items())), indent=3, ensure_ascii=False).encode()
    with visitor(server) as guest:
        first, second = buy(guest, form, key), buy(guest, shuffled, key)
    is_replay_of(second, first)


def test_a_key_in_quotes_is_the_key(server: Shop) -> None:
    key, form = a_key(), order_form()
    with visitor(server) as guest:
        first, second = buy(guest, form, key), buy(guest, form, f'"{key}"')
    is_replay_of(second, first)


def test_every_caller_has_keys_of_their_own(server: Shop) -> None:
    key, form = a_key(), order_form(line("prod_011"))
    tokens = [None, server.token(someone_signed_in()), server.token(someone_signed_in())]
    answers = []
    for token in tokens:
        with visitor(server, token) as client:
            answers.append(buy(client, form, key))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({id_of(answer) for answer in answers}) == 3
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None] * 3


def test_two_guests_of_different_addresses_do_not_share_a_key(server: Shop) -> None:
    """Ruling 24: guests are told apart by their e-mail address."""
    key = a_key()
    with visitor(server) as guest:
        first, second = buy(guest, order_form(), key), buy(guest, order_form(line("prod_011")), key)
    assert (first.status_code, second.status_code) == (200, 200), second.text
    assert id_of(first) != id_of(second)


def test_a_malformed_form_does_not_spend_the_key(server: Shop) -> None:
    key, form = a_key(), order_form()
    with visitor(server) as guest:
        malformed(buy(guest, changed(form, "items.0.quantity", 0), key))
        malformed(buy(guest, b"{", key))
        problem(buy(guest, b" " * 70_000, key), 413)
        problem(buy(guest, form, key, {"Authorization": "Bearer a.b.c"}), 401)
        answer = buy(guest, form, key)
    assert answer.status_code == 200, answer.text
    assert "Idempotent-Replayed" not in answer.headers


@pytest.mark.parametrize("key", ["12345678", "k" * 255, "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", '"12345678"'])
def test_a_key_of_8_to_255_visible_characters_is_taken(server: Shop, key: str) -> None:
    form = order_form(line("prod_011"))
    with visitor(server) as guest:
        first, second = buy(guest, form, key), buy(guest, form, key)
    assert first.status_code == 200, first.text
    is_replay_of(second, first)


@pytest.mark.parametrize(
    "key",
    [b"1234567", b"k" * 256, b"", b"tab\tin-the-key", b"a blank in it", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09",
     b"del\x7fdel\x7fdel", "schlüssel-zwölf".encode(), "schlüssel-zwölf".encode("latin-1"), b'"1234567"', b'"', b'""'],
    ids=repr,
)  # fmt: skip
def test_a_key_that_is_none_is_400(server: Shop, key: bytes) -> None:
    """Sent by hand, because a polite client would not send some of these."""
    body = json.dumps(order_form(line("prod_011"))).encode()
    place = urlsplit(server.url)
    request = (
        f"POST /checkout/process HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: "
    ).encode()
    with socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), timeout=20) as line_to_shop:
        line_to_shop.sendall(request + key + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: line_to_shop.recv(65536), b""))
    head, _, told = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400"), answer
    if b"json" not in head.lower():
        return  # the server's own parser refused it before Kassa saw it
    detail = json.loads(told)["detail"]
    assert (detail["error"], detail["checkout_id"]) == ("Invalid idempotency key", None)


def test_a_key_outlives_the_change_of_kassas_secret(start_kassa: StartKassa, database_server: DatabaseServer) -> None:
    """Ruling 34: while `KASSA_SECRET` is rotated, `KASSA_SECRET_OLD` still tells which form was sent."""
    old, new = (base64.b64encode(each * 32).decode() for each in (b"o", b"n"))
    dsn = database_server.fresh()
    key, form = a_key(), order_form()
    before = start_kassa(database=dsn, KASSA_SECRET=old)
    with visitor(before) as guest:
        first = buy(guest, form, key)
    before.stop()
    after = start_kassa(database=dsn, KASSA_SECRET=new, KASSA_SECRET_OLD=old)
    with visitor(after) as guest:
        again = buy(guest, form, key)
        other = buy(guest, changed(form, "payment_method.card_number", DECLINED_CARD), key)
    is_replay_of(again, first)
    problem(other, 422, "Idempotency key reused")

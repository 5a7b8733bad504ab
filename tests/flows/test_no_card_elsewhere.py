"""F71, the other doors: cards sent where no card belongs, where they are turned away, and through kill points.

`test_no_card_at_rest.py` goes down the ways of a purchase. Here a card is what an attacker, or a confused client, puts anywhere else;
and the search goes on in Redis, in the broker, in the environment of the process and in what it would leave behind if it died.
With `KASSA_FUZZ` set the process is killed at more points.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import psutil  # type: ignore[import-untyped]
import pytest
from tests.contracts.checkout.journeys import a_key, buy, changed, someone_signed_in, visitor
from tests.contracts.grpc.callers import Caller, an_order, request_of
from tests.flows.test_no_card_at_rest import CVV, Canaries, every_file, nothing_is_found

if TYPE_CHECKING:
    from tests.conftest import StartKassa, StartSandbox
    from tests.rig import Server
    from tests.services import OwnRabbit, OwnRedis

PAYME = {"PAYME_ID": "650000000000000000000001", "PAYME_KEY": "D3moKassaKey000000000000000000000036"}
POINTS = ("checkout.start:after_commit", "payment:after_call", "checkout.settle:before_commit")
if "KASSA_FUZZ" in os.environ:
    POINTS += (
        "checkout.start:before_commit",
        "payment:before_call",
        "checkout.settle:after_commit",
        "checkout.forward:after_commit",
    )


def in_a_tokens_place(canaries: Canaries, server: Server) -> None:
    """A card where Payme's token of a card belongs, and in whatever else a buyer says of a payment."""
    with visitor(server, server.token(someone_signed_in())) as buyer:
        buyer.post("/api/cart/items", json={"productId": "prod_011", "quantity": 1})
        address = {"street": "Rua do Canario Amarelo", "city": "A", "state": "B", "postalCode": "1", "country": "IN"}
        for method in ("payme", "credit_card", "upi", "link:stripe", "cash_on_delivery", "cheque"):
            card = canaries.card()
            spaced = " ".join(card[place : place + 4] for place in range(0, 16, 4))
            for details in (
                {"cardToken": card},
                {"cardToken": spaced},
                {"cardToken": {"number": card, "cvv": CVV}},
                {"cardToken": f"{card}{CVV}"},
                {"cardToken": f"token {card}"},
                {"cardNumber": f"{card}{card}"},
                {"expiryDate": card},
                {"cvv": CVV, "note": card},
            ):
                order = {"shippingAddress": address, "paymentMethod": method, "paymentDetails": details, "cartVersion": 10**6}
                canaries.listen(buyer.post("/api/orders", json=order, headers={"Idempotency-Key": a_key()}))
        card = canaries.card()
        details = {"cardNumber": card, "expiryDate": "12/30", "cvv": CVV, "holder": "A"}
        order = {"shippingAddress": address, "paymentMethod": "cash_on_delivery", "paymentDetails": details}
        answer = canaries.listen(buyer.post("/api/orders", json=order, headers={"Idempotency-Key": a_key()}))
        assert answer.status_code == 201, answer.text


def where_none_belongs(canaries: Canaries, server: Server) -> None:
    """Every other door that takes a body, a query or a path."""
    card = canaries.card()
    whole: dict[str, Any] = {"card_number": card, "card_cvv": CVV, "number": int(card)}
    doors = ["/cart/items", "/checkout", "/api/cart/items", "/api/orders", "/api/v1/payments", "/api/v1/payments/webhook"]
    doors += [
        "/payme/webhook",
        "/payme/webhook/1",
        "/api/v1/api-keys",
        "/api/v1/webhook-endpoints",
        "/nowhere",
        f"/checkout/{card}",
    ]
    credentials = [{}, {"Authorization": f"Bearer {server.token(someone_signed_in())}", "X-Api-Key": "sk_demo_2"}]
    credentials += [{"Authorization": f"Basic {card}"}, {"Authorization": f"Bearer {card}", "X-Api-Key": f"sk_{card}"}]
    with visitor(server) as guest:
        for door in doors:
            for headers in credentials:
                for method in ("POST", "PUT", "DELETE", "PATCH"):
                    answer = guest.request(method, door, json=whole, headers=headers)
                    canaries.heard.append(answer.content)
                guest.get(door, params={"card_number": card, "cvv": CVV}, headers=headers)
        rpc = {"method": card, "id": 1, "params": {"id": card, "account": {"order_id": card}, "amount": int(card)}}
        canaries.listen(guest.post("/payme/webhook", json=rpc))
        rpc["method"] = "CheckPerformTransaction"  # the name of another one is told to Payme, as its specification asks
        canaries.listen(guest.post("/payme/webhook", json=rpc, auth=("Paycom", PAYME["PAYME_KEY"])))
        wish = {"order_id": "A-1", "amount": card, "price": card, "alias": card, "subscription_id": f"{card}"}
        canaries.listen(guest.post("/api/v1/payments", json=wish, headers={"X-Api-Key": "sk_demo_2"}))


def over_grpc(canaries: Canaries, server: Server) -> None:
    """In each field of a request that is refused for another one, as bytes that are no message, and as an id to look for."""
    card = canaries.card()
    caller = Caller(server.grpc, [("x-api-key", "sk_demo_2")])
    wishes = [
        an_order(currency=card),
        an_order(amount_minor=0, order_id=card, idempotency_key=card, metadata={"card": card, "cvv": CVV}),
        an_order(order_id=card * 20),
        an_order(idempotency_key=f"{card}\n"),
        an_order(metadata={card * 5: CVV}),
    ]
    try:
        for data in (*(request_of(wish).SerializeToString() for wish in wishes), card.encode(), b"\x0a\xff" + card.encode()):
            with pytest.raises(grpc.RpcError) as found:
                caller.ask("RequestPayment", data)
            canaries.heard.append((found.value.details() or "").encode())
        with pytest.raises(grpc.RpcError):
            caller.ask("GetPayment", b"\x0a" + bytes([len(card)]) + card.encode())
    finally:
        caller.close()


def broken_off(canaries: Canaries, server: Server) -> None:
    """Half a request with the card in it, and then nothing: the caller leaves."""
    host, port = server.url.removeprefix("http://").split(":")
    for cut in (200, 120, 60):
        body = json.dumps(canaries.form()).encode()
        head = f"POST /checkout/process HTTP/1.1\r\nHost: kassa\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(head + body[:-cut])
    with socket.create_connection((host, int(port)), timeout=5) as line, contextlib.suppress(OSError):
        line.sendall(b"POST /checkout/process HTTP/1.1\r\nHost: kassa\r\nContent-Length: nothing\r\n\r\n" + body)
        canaries.heard.append(line.recv(4096))


@pytest.fixture(scope="module")
def odd(start_kassa: StartKassa) -> Server:
    return start_kassa(**PAYME, LOG_LEVEL="debug")


def test_a_card_where_none_belongs_is_nowhere(odd: Server) -> None:
    canaries = Canaries()
    in_a_tokens_place(canaries, odd)
    where_none_belongs(canaries, odd)
    over_grpc(canaries, odd)
    broken_off(canaries, odd)
    nothing_is_found(odd, canaries, *of_process(odd))


def of_process(server: Server) -> Iterator[tuple[str, bytes]]:
    """What the system shows of the process."""
    for name in ("environ", "cmdline", "comm"):
        yield f"/proc/{name}", Path(f"/proc/{server.pid}/{name}").read_bytes()


def test_a_process_that_dies_leaves_no_memory_behind(odd: Server) -> None:
    assert psutil.Process(odd.pid).rlimit(resource.RLIMIT_CORE) == (0, 0)


def test_whoever_is_turned_away_leaves_no_card(start_kassa: StartKassa, own_redis: OwnRedis) -> None:
    """429 before the body is read, 413 after some of it, and what Redis was told meanwhile."""
    canaries = Canaries()
    server = start_kassa(RATE_LIMIT="8/minute", REDIS_URL=own_redis.url)
    statuses = set()
    with visitor(server) as guest:
        for number in range(16):
            form = canaries.form()
            body = json.dumps(form).encode() + (b" " * 70_000 if number == 4 else b"")
            statuses.add(canaries.listen(buy(guest, body, a_key())).status_code)
    assert {200, 413, 429} <= statuses
    own_redis.stop()  # it writes what it holds to its folder
    nothing_is_found(server, canaries, *every_file(own_redis.home), *of_process(server))


def test_a_kill_at_any_point_leaves_no_card(start_kassa: StartKassa, start_sandbox: StartSandbox, own_rabbitmq: OwnRabbit) -> None:
    """The process dies with the card in its hands; what was written before, and what the broker was told of it, holds none."""
    canaries = Canaries()
    sandbox = start_sandbox()
    server = start_kassa(RABBITMQ_URL=own_rabbitmq.url, **sandbox.settings("payment", "inventory", "order"))
    with visitor(server) as guest:
        assert canaries.listen(buy(guest, canaries.form(), a_key())).status_code == 200
    for point in POINTS:
        server.stop()
        server.environment["KASSA_CRASH_AT"] = point
        server.start()
        with visitor(server) as guest, pytest.raises(httpx2.TransportError):
            buy(guest, changed(canaries.form(), "customer_email", f"{a_key()}@example.com"), a_key())
        server.wait()
        server.environment.pop("KASSA_CRASH_AT")
        server.start()
    kept = list(every_file(own_rabbitmq.home))
    assert any(b"checkout.started" in text or b"payment.paid" in text for _, text in kept), "the broker was told of it"
    book = json.dumps(sandbox.book()).encode()
    nothing_is_found(server, canaries, ("the book", book), *kept, *of_process(server))

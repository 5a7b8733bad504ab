"""Card numbers and security codes live in memory for one request. Here they are sent down every path there is, also the
broken ones and through a crash, and then looked for everywhere: answers, logs, files, every column of every table, the
neighbours' book. Nothing may be found, not even with separators, in base64 or as a hash without a key (invariant 12)."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest
from tests.contracts.checkout.journeys import (
    FINAL,
    Json,
    a_key,
    at_once,
    buy,
    changed,
    id_of,
    line,
    order_form,
    someone_signed_in,
    until,
    visitor,
)
from tests.contracts.checkout.neighbours import HONEST, Neighbours, cuts, does_but_says, says, thinks

if TYPE_CHECKING:
    from tests.conftest import StartKassa, StartSandbox
    from tests.rig import Sandbox, Server

CVV: Final = "0847"  # begins with a nought, as no counter, port or process id does
STREET: Final = "Rua do Canario Amarelo"
_numbers: Final = itertools.count(512_035)


@dataclass
class Canaries:
    """Every card number that was sent, and everything that was answered."""

    cards: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def card(self) -> str:
        """A number that nobody has: it names the path that lets it out."""
        self.cards.append(f"5309271846{next(_numbers):06d}")
        return self.cards[-1]

    def form(self, *items: Json, **other: Any) -> Json:
        form = order_form(*(items or (line("prod_011"),)), card=self.card(), cvv=CVV, **other)
        form["shipping_address"]["street"] = STREET
        return form

    def listen(self, answer: httpx2.Response) -> httpx2.Response:
        self.heard.append(repr(answer.headers).encode() + answer.content)
        return answer

    def found_in(self, text: bytes) -> list[str]:
        """The secrets that stand in a text, in whatever clothes."""
        found = [card for card in self.cards if any(dress.search(text) for dress in _dresses(card))]
        return found + (["the security code"] if _CVV.search(text) else [])


_CVV: Final = re.compile(rb"(?<![0-9A-Za-z.:\-+])" + CVV.encode() + rb"(?![0-9A-Za-z])")
_known: dict[str, list[re.Pattern[bytes]]] = {}


def _dresses(card: str) -> list[re.Pattern[bytes]]:
    """Plain and separated, in base64 at each of its three offsets, in hexadecimal, and hashed without a key."""
    if card not in _known:
        raw = card.encode()
        shifted = (base64.b64encode(b"x" * pad + raw)[4 if pad else 0 : -4] for pad in range(3))
        hashes = [hashlib.new(name, raw, usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")]
        plain = re.compile(rb"[ \-._/]?".join(bytes([digit]) for digit in raw))
        others = [raw.hex().encode(), *shifted, *(digest.encode() for digest in hashes)]
        _known[card] = [plain, *(re.compile(re.escape(other), re.IGNORECASE) for other in others)]
    return _known[card]


# Where to look


def every_row(server: Server) -> Iterator[tuple[str, bytes]]:
    """Each row of each table as text, and each of its byte strings as it is."""
    columns = server.sql(
        """SELECT c.table_schema AS schema, c.table_name AS name, c.column_name AS column, c.data_type AS type
           FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
           WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')"""
    )
    assert columns, "the database can be read"
    for schema, name in sorted({(row["schema"], row["name"]) for row in columns}):
        for row in server.sql(f'SELECT t::text AS row FROM "{schema}"."{name}" t'):
            yield f"table {name}", row["row"].encode()
    for row in columns:
        if row["type"] == "bytea":
            where = f'"{row["schema"]}"."{row["name"]}"'
            for found in server.sql(f'SELECT "{row["column"]}" AS raw FROM {where} WHERE "{row["column"]}" IS NOT NULL'):
                yield f"bytes in {row['name']}.{row['column']}", bytes(found["raw"])
    for row in server.sql("SELECT query FROM pg_stat_activity WHERE datname = current_database()"):
        yield "a running query", (row["query"] or "").encode()


def every_file(home: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(home.rglob("*")):
        if file.is_file():
            yield f"file {file.relative_to(home)}", file.read_bytes()


def everywhere(server: Server, canaries: Canaries) -> Iterator[tuple[str, bytes]]:
    yield from (("an answer", answer) for answer in canaries.heard)
    yield "the log", server.log_text().encode()
    yield from every_row(server)
    yield from every_file(server.home)
    with visitor(server) as guest:
        for path in ("/metrics", "/openapi.json"):
            yield path, guest.get(path).content


def nothing_is_found(server: Server, canaries: Canaries, *more: tuple[str, bytes]) -> None:
    places = [*everywhere(server, canaries), *more]
    kept = [where for where, text in places if STREET.encode() in text]
    assert any(where.startswith("table") for where in kept), "what may be kept is found, so the search sees something"
    hits = sorted({(where, secret) for where, text in places for secret in canaries.found_in(text)})
    assert hits == []


# Which paths to take


def spoil(canaries: Canaries, server: Server) -> None:
    """Everything that can be wrong with a request while a card is in it."""
    with visitor(server) as guest:

        def send(body: Json | bytes, key: str | None = None, **headers: str) -> httpx2.Response:
            return canaries.listen(buy(guest, body, key, headers))

        for path, value in [
            ("items.0.quantity", 0),
            ("items", []),
            ("items.0.price", 1.23),
            ("items.0.product_id", "prod_nobody"),
            ("items.0.product_id", "prod_soldout"),
            ("items", [line("prod_001", 11)]),
            ("customer_email", "nobody"),
            ("payment_method.card_expiry", "13/25"),
            ("payment_method.type", "cheque"),
            ("payment_method.card_cvv", f"{CVV}5"),
            ("payment_method.unknown", True),
            ("total", 1),
            ("shipping_address", None),
        ]:
            send(changed(canaries.form(), path, value), a_key())
        for number in (canaries.card() + "12345", int(canaries.card()), [canaries.card()], {canaries.card(): CVV}):
            send(changed(canaries.form(), "payment_method.card_number", number))
        for name in (canaries.card(), f"card {canaries.card()}", f'{{"card_cvv":"{CVV}"}}'):
            send(changed(canaries.form(), f"payment_method.{name}", 1))
            send(changed(canaries.form(), name.replace(".", ""), name))
        for value in (canaries.card(), {"card_number": canaries.card(), "card_cvv": CVV}, [canaries.card()]):
            for path in ("payment_method", "customer_email", "items", "shipping_address"):
                send(changed(canaries.form(), path, value))
        whole = json.dumps(canaries.form()).encode()
        for body in (whole[:-1], whole[:150], whole + whole, b"[" + whole + b"]", b"\xff" + whole, whole + b" " * 70_000):
            send(body, a_key())
        send(whole, "short")
        send(whole, None, Authorization="Bearer a.b.c")
        guest.post("/checkout/nowhere", content=whole)
        canaries.listen(guest.put("/checkout/process", content=whole))
        canaries.listen(guest.post("/api/orders", content=whole))


def behave(canaries: Canaries, server: Server) -> None:
    """What ordinary buyers do: buy, press twice, change the card under a key, be declined, look."""
    for token in (None, server.token(someone_signed_in())):
        with visitor(server, token) as client:
            key, form = a_key(), canaries.form()
            other = changed(form, "payment_method.card_number", canaries.card())
            for sent in (form, form, other, changed(form, "payment_method.card_cvv", "123")):
                canaries.listen(buy(client, sent, key))
            spaced = canaries.card()
            spaced = "-".join(spaced[place : place + 4] for place in range(0, 16, 4))
            bought = canaries.listen(buy(client, changed(form, "payment_method.card_number", spaced)))
            canaries.listen(buy(client, canaries.form(line("prod_001", 11)), a_key()))
            canaries.listen(client.get(f"/checkout/{id_of(bought)}"))
            if token:
                canaries.listen(client.get("/api/orders"))


def ends(server: Server, checkout_id: str, canaries: Canaries) -> Json:
    """Wait for the end of a checkout, also while its server is being restarted."""

    def ended() -> Json | None:
        try:
            with visitor(server) as guest:
                answer = canaries.listen(guest.get(f"/checkout/{checkout_id}"))
        except httpx2.TransportError:
            return None
        found: Json = answer.json()
        return found if answer.status_code == 200 and found["status"] in FINAL else None

    return until(ended, 60, f"checkout {checkout_id} ends")


def test_ordinary_and_spoilt_requests_leave_no_card(server: Server) -> None:
    canaries = Canaries()
    spoil(canaries, server)
    behave(canaries, server)
    nothing_is_found(server, canaries)


BEHAVIOURS: Final = ("book_then_500", "book_then_cut", "cut", "error", "garbage", "huge", "redirect", "decline", "answer_twice")


@dataclass
class Quarter:
    """A shop, whoever stands beside it, and the cards that were sent there."""

    server: Server
    canaries: Canaries = field(default_factory=Canaries)


@pytest.fixture(scope="module")
def sandbox(start_sandbox: StartSandbox) -> Sandbox:
    return start_sandbox()


@pytest.fixture(scope="module")
def broken(start_kassa: StartKassa, sandbox: Sandbox) -> Quarter:
    return Quarter(start_kassa(**sandbox.settings("payment", "inventory", "order")))


@pytest.fixture(scope="module")
def gossips() -> Iterator[Neighbours]:
    neighbours = Neighbours()
    yield neighbours
    neighbours.stop()


@pytest.fixture(scope="module")
def gossip(start_kassa: StartKassa, gossips: Neighbours) -> Quarter:
    return Quarter(start_kassa(**gossips.settings()))


def break_and_crash(broken: Quarter, sandbox: Sandbox) -> None:
    """Every behaviour of the sandbox, then a power cut while four buyers wait, then the end of their checkouts."""
    server, canaries = broken.server, broken.canaries
    behave(canaries, server)
    with visitor(server) as guest:
        for service, act in (("payment", "process"), ("inventory", "deduct"), ("order", "create")):
            for behaviour in BEHAVIOURS if service == "payment" else ("decline", "error"):
                sandbox.script(service, act, behaviour)
                canaries.listen(buy(guest, canaries.form(), a_key()))
    waiting = [canaries.form() for _ in range(4)]
    for form in waiting:
        sandbox.script("payment", "process", "late", seconds=3, match={"customer_email": form["customer_email"]})

    def buyer(form: Json) -> None:
        with visitor(server) as guest, pytest.raises(httpx2.TransportError):
            canaries.listen(buy(guest, form, a_key()))

    def power_cut() -> None:
        time.sleep(1)
        server.kill()

    buyers: list[Any] = [lambda form=form: buyer(form) for form in waiting]
    at_once([power_cut, *buyers])
    server.start()
    asked = [call["key"].split(":")[0] for call in sandbox.book()["calls"] if call["act"] == "process"]
    for checkout_id in asked[-len(waiting) :]:
        ends(server, checkout_id, canaries)


def gossip_about(card: str) -> list[dict[str, Any]]:
    """A payment service that quotes the card in a refusal, in an error page, when it is asked later, or to the refund."""
    whole = {"card_number": card, "card_cvv": CVV}
    page = json.dumps([card, f"card {card}", whole]).encode()
    return [
        {"process": says(422, {"status": "failed", "error": card, "message": f"card {card}", "request": whole})},
        {"process": does_but_says(500, page), "by_key": [says(500, page), says(200, page), HONEST]},
        {"process": cuts(books=True), "by_key": says(404, page)},
        {"process": does_but_says(200, {"status": "success", "transactionId": "T-1", "card": whole})},
        {"process": says(307, whole, Location=f"/elsewhere?card={card}")},
        {"process": thinks(0.2), "refund": says(404, page), "deduct": says(422)},
    ]


def spread_gossip(gossip: Quarter, gossips: Neighbours) -> None:
    def told(which: int) -> None:
        form = gossip.canaries.form()
        plan = gossip_about(form["payment_method"]["card_number"])[which]
        gossips.for_buyer(form["customer_email"], **plan)
        with visitor(gossip.server) as guest:
            checkout_id = id_of(gossip.canaries.listen(buy(guest, form, a_key())))
        ends(gossip.server, checkout_id, gossip.canaries)

    tales: list[Any] = [lambda which=which: told(which) for which in range(len(gossip_about("")))]
    at_once(tales)


@pytest.fixture(scope="module")
def _all_went_wrong(broken: Quarter, sandbox: Sandbox, gossip: Quarter, gossips: Neighbours) -> None:
    """Both quarters at the same time, because both take a while."""
    at_once([lambda: break_and_crash(broken, sandbox), lambda: spread_gossip(gossip, gossips)])


@pytest.mark.usefixtures("_all_went_wrong")
def test_broken_neighbours_and_a_crash_leave_no_card(broken: Quarter, sandbox: Sandbox) -> None:
    book = json.dumps(sandbox.book()).encode()
    nothing_is_found(broken.server, broken.canaries, ("the book", book), *every_file(sandbox.home))


@pytest.mark.usefixtures("_all_went_wrong")
def test_neighbours_who_say_the_card_aloud_are_not_written_down(gossip: Quarter) -> None:
    nothing_is_found(gossip.server, gossip.canaries)


def test_a_card_quoted_with_blanks_is_masked_too(gossip: Quarter, gossips: Neighbours) -> None:
    canaries = Canaries()
    form = canaries.form()
    card = form["payment_method"]["card_number"]
    quoted = " ".join(card[place : place + 4] for place in range(0, 16, 4))
    gossips.for_buyer(form["customer_email"], process=says(422, {"status": "failed", "message": f"Card {quoted} refused"}))
    with visitor(gossip.server) as guest:
        answer = canaries.listen(buy(guest, form, a_key()))
        canaries.listen(guest.get(f"/checkout/{id_of(answer)}"))
    nothing_is_found(gossip.server, canaries)


def test_the_search_finds_a_card_in_any_clothes() -> None:
    canaries = Canaries()
    card = canaries.card()
    spaced = " ".join(card[place : place + 4] for place in range(0, 16, 4))
    for text in (
        f'{{"card_number": "{card}"}}',
        f"Card {spaced}.",
        spaced.replace(" ", "-"),
        card.encode().hex(),
        base64.b64encode(f"a card: {card}, and more".encode()).decode(),
        base64.b64encode(f"the card: {card}, and more".encode()).decode(),
        base64.b64encode(f"that card: {card}, and more".encode()).decode(),
        hashlib.sha256(card.encode()).hexdigest(),
    ):
        assert canaries.found_in(text.encode()) == [card], text
    for text in (f'"card_cvv":"{CVV}"', f"cvv={CVV}", f"code {CVV}\n"):
        assert canaries.found_in(text.encode()) == ["the security code"], text
    for innocent in (
        "2026-01-01 00:00:00.0847+00",
        "0198c0de-0847-7000-8000-000000000000",
        "10847",
        card[:6] + "******" + card[-4:],
    ):
        assert canaries.found_in(innocent.encode()) == [], innocent

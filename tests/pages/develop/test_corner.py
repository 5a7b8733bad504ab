"""The developers' corner as it is served: what is pasted works, what was told is shown with its signature, nothing leaks elsewhere."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from tests.contracts.checkout.journeys import a_key, until
from tests.pages.hook import Hook, hook, is_signed
from tests.rig import Server
from tests.unit.api.asking import KEYS, an_app, ask

from kassa.api.options import Pages
from kassa.pages import PREFIXES, PageOptions, Refusals, pages_routers
from kassa.pages.develop.samples import CONTRACTS

__all__ = ["hook"]
ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}
PLACES = ["/develop", "/develop/asyncapi", "/develop/grpc", "/develop/events", *(f"/develop/calls/{name}" for name in CONTRACTS)]


def blocks(page: str) -> list[str]:
    """The texts that can be copied."""
    return [html.unescape(text) for text in re.findall(r"<pre[^>]* data-copy>(.*?)</pre>", page, re.DOTALL)]


@pytest.fixture(scope="module")
def bought(server: Server) -> dict[str, Any]:
    """An order of the demo buyer, and a payment of the demo merchant."""
    buyer = server.client(1)
    assert buyer.post("/api/cart/items", json={"productId": "prod_001", "quantity": 1}).status_code == 201
    form = {"paymentMethod": "credit_card", "shippingAddress": ADDRESS}
    order = buyer.post("/api/orders", json=form, headers={"Idempotency-Key": a_key()})
    assert order.status_code == 201, order.text
    found: dict[str, Any] = order.json()
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_whole_and_light(server: Server, place: str) -> None:
    answer = server.client().get(place)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>" in answer.text
    assert "style=" not in answer.text
    assert len(answer.content) < 60_000


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.usefixtures("bought")
def test_what_only_looks_can_be_pasted_as_it_is(server: Server, contract: str) -> None:
    preface, *commands = blocks(server.client().get(f"/develop/calls/{contract}").text)
    looks = [
        each for each in commands if " -X " not in each and " -d " not in each and "curl -sN" not in each and "BODY=" not in each
    ]
    assert looks
    for command in looks:
        told = command.replace("curl -s", "curl -s -o /dev/null -w '%{http_code}'", 1)
        done = subprocess.run(["sh", "-c", f"{preface}\n{told}"], capture_output=True, text=True, timeout=30, check=True)
        missing = "$CHECKOUT_ID" in command or "$ENDPOINT_ID" in command  # of another buyer, or there is none
        assert done.stdout == "200" or (missing and done.stdout == "404"), f"{command}: {done.stdout}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_something_can_be_bought_by_pasting(server: Server) -> None:
    preface, *commands = blocks(server.client().get("/develop/calls/orders").text)
    add = next(each for each in commands if '"$API/api/cart/items"' in each)
    order = next(each for each in commands if '"$API/api/orders"' in each and "-d" in each)
    done = subprocess.run(["sh", "-c", f"{preface}\n{add}\n{order}"], capture_output=True, text=True, timeout=30, check=True)
    assert '"pending"' in done.stdout, done.stdout


def test_the_collection_can_be_downloaded(server: Server) -> None:
    answer = server.client().get("/develop/postman.json")
    assert answer.headers["content-disposition"].startswith("attachment")
    whole = answer.json()
    assert [folder["name"] for folder in whole["item"]] == list(CONTRACTS)
    known = {each["key"]: each["value"] for each in whole["variable"]}
    assert known["api"].rpartition(":")[2] == server.url.rpartition(":")[2]
    held = server.client(headers={"Authorization": f"Bearer {known['token']}"}).get("/api/cart")
    assert held.status_code == 200, held.text


def test_an_event_is_shown_with_the_signature_that_its_receiver_saw(server: Server, hook: Hook) -> None:
    merchant = server.client(headers={"X-Api-Key": "sk_demo_1"})
    wish = {"url": hook.url, "events": ["payment.*"], "format": "event"}
    endpoint = merchant.post("/api/v1/webhook-endpoints", json=wish).json()
    try:
        asked = {"order_id": a_key(), "amount": 1, "price": "3.50", "alias": "stripe", "subscription_id": 1}
        payment = merchant.post("/api/v1/payments", json=asked).json()
        until(lambda: hook.heard, 20, "the endpoint is told")
        headers, body = hook.heard[0]
        assert is_signed(endpoint["secret"], headers, body)
        event_id = headers["webhook-id"]
        listed = server.client().get("/develop/events", params={"type": "payment.*"}).text
        assert event_id in listed
        assert payment["payment_id"] in listed
        assert event_id not in server.client().get("/develop/events", params={"type": "refund.*"}).text
        until(lambda: "webhook-signature" in server.client().get(f"/develop/events/{event_id}").text, 20, "the attempt is noted")
        shown = html.unescape(server.client().get(f"/develop/events/{event_id}").text)
        assert body.decode() in shown
        told = dict(re.findall(r"^(?:<pre tabindex=\"0\">)?([\w-]+): (.+)$", shown, re.MULTILINE))
        assert is_signed(endpoint["secret"], told, body)
        assert abs(int(told["webhook-timestamp"]) - int(headers["webhook-timestamp"])) <= 1
        assert endpoint["secret"] not in shown
    finally:
        merchant.delete(f"/api/v1/webhook-endpoints/{endpoint['endpoint_id']}")


@pytest.mark.parametrize(
    "asked", ["?type=nonsense", "?type=payment.*&before=nonsense", "?before=019b76da-a801-7d90-a2b6-4c7f1e3d5b62"]
)
def test_odd_questions_are_answered_kindly(server: Server, asked: str) -> None:
    assert server.client().get(f"/develop/events{asked}").status_code == 200


@pytest.mark.parametrize(
    "place", ["/develop/events/x", "/develop/events/019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "/develop/calls/nonsense"]
)
def test_what_is_not_there_is_a_page_that_says_so(server: Server, place: str) -> None:
    answer = server.client().get(place)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_events_of_other_merchants_are_not_shown(server: Server) -> None:
    other = server.client(headers={"X-Api-Key": "sk_demo_2"})
    asked = {"order_id": a_key(), "amount": 1, "price": "3.50", "alias": "stripe", "subscription_id": 2}
    payment = other.post("/api/v1/payments", json=asked).json()["payment_id"]
    event = server.sql("SELECT event_id FROM events WHERE subject = $1 LIMIT 1", f"payment:{payment}")[0]["event_id"]
    assert payment not in server.client().get("/develop/events").text
    assert server.client().get(f"/develop/events/{event}").status_code == 404


def test_a_forged_host_cannot_write_the_commands(server: Server) -> None:
    told = server.client().get("/develop/calls/orders", headers={"Host": "x;rm -rf $HOME"})
    assert told.status_code in {200, 400}
    assert "rm -rf" not in told.text


async def test_outside_development_it_shows_the_contracts_and_nothing_else() -> None:
    options = PageOptions(groups=("develop",), keys=KEYS, surfaces=("orders", "payments"), public_url="https://shop.example")
    app = an_app(pages=Pages(pages_routers(options), PREFIXES, Refusals()))
    page = await ask(app, "GET", "/develop/calls/payments")
    assert page.status == 200
    text = html.unescape(page.body.decode())
    assert "API=https://shop.example" in text
    assert "sk_demo" not in text
    assert not re.search(r"TOKEN='?eyJ", text)
    for place in ("/develop/events", "/develop/events/019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "/develop/calls/purchases"):
        assert (await ask(app, "GET", place)).status == 404
    collection = json.loads((await ask(app, "GET", "/develop/postman.json")).body)
    assert {each["value"] for each in collection["variable"] if each["key"] in {"token", "staff", "key"}} == {""}


async def test_it_is_not_there_unless_it_is_named() -> None:
    options = PageOptions(groups=("buyer",), keys=KEYS, surfaces=("orders",))
    app = an_app(pages=Pages(pages_routers(options), PREFIXES, Refusals()))
    assert (await ask(app, "GET", "/develop")).status == 404

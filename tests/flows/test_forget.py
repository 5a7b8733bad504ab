"""`kassa forget`: a buyer with names that nobody else has buys at every door; afterwards no row has them any more, and the books hold."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest
from tests.contracts.checkout.journeys import a_key, order_form, until

from kassa.kit.secrets import Keys

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import Server

SECRET: Final = base64.b64encode(b"what the shop of this test knows").decode()
KEYS: Final = Keys(base64.b64decode(SECRET))
BUYER: Final = 471_100_815
NAME, STREET, MAIL, NOTE = "Zephyrine", "Rue du Canari Vert", "zephyrine.canari@example.com", "leave it with Madame Quetzal"
CANARIES: Final = (NAME, STREET, MAIL, "Quetzal", "Canari")
CARD: Final = "5309271846512035"
ADDRESS: Final = {"street": f"{STREET} 7", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa(KASSA_SECRET=SECRET, EMAIL_BACKEND="console", NOTIFICATION_SERVICE_URL="")


def kassa(shop: Server, *words: str) -> tuple[int, Any]:
    """Run a command of an operator beside the shop; its exit code and what it said as JSON."""
    environment = {**shop.environment, "DATABASE_URL": shop.dsn}
    done = subprocess.run(
        [sys.executable, "-m", "kassa", *words, "--json"],
        env=environment, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def texts(shop: Server) -> Iterator[tuple[str, str]]:
    """Every row of every table as text, and what is sealed as it was before."""
    tables = shop.sql(
        "SELECT schemaname AS schema, tablename AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 40
    for table in tables:
        for row in shop.sql(f'SELECT t::text AS row FROM "{table["schema"]}"."{table["name"]}" t'):
            yield table["name"], row["row"]
    for row in shop.sql("SELECT key, answer FROM idempotency_keys WHERE answer IS NOT NULL"):
        opened = KEYS.unseal(bytes(row["answer"]), row["key"].encode())
        assert opened is not None
        yield "idempotency_keys, opened", opened.decode()
    for row in shop.sql("SELECT order_id, sealed FROM notice_recipients WHERE sealed IS NOT NULL"):
        opened = KEYS.unseal(bytes(row["sealed"]), row["order_id"].bytes)
        assert opened is not None
        yield "notice_recipients, opened", opened.decode()


def left(shop: Server, *canaries: str) -> set[str]:
    """The tables in which any of the canaries stands, in whatever case."""
    wanted = [each.lower() for each in canaries or CANARIES]
    return {where for where, text in texts(shop) if any(each in text.lower() for each in wanted)}


def buyer(shop: Server) -> httpx2.Client:
    token = shop.token(BUYER, first_name=NAME, last_name="Canari", email=MAIL)
    return shop.client(headers={"Authorization": f"Bearer {token}"})


def good(answer: httpx2.Response) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json()


def order_something(shop: Server, **more: Any) -> str:
    """Over the orders contract, under a key."""
    client = buyer(shop)
    good(client.post("/api/cart/items", json={"productId": "507f1f77bcf86cd799439012", "quantity": 1}))
    form = {"shippingAddress": ADDRESS, "paymentMethod": "credit_card", "paymentDetails": {"cardNumber": CARD}, **more}
    made = good(client.post("/api/orders", json=form, headers={"Idempotency-Key": a_key()}))
    order_id: str = made["data"]["id"] if "data" in made else made["id"]
    until(lambda: status_of(shop, order_id) == "paid", 60, "the order is paid")
    return order_id


def status_of(shop: Server, order_id: str) -> str:
    (row,) = shop.sql("SELECT status FROM orders WHERE order_id = $1::text::uuid", order_id)
    found: str = row["status"]
    return found


def move(shop: Server, order_id: str, *way: str, role: str | None = "staff", note: str | None = None) -> None:
    client = shop.client(1, role) if role else buyer(shop)
    for to in way:
        body = {"status": to, **({"note": note} if note else {})}
        answer = client.put(f"/api/orders/{order_id}/status", json=body, headers={"Idempotency-Key": a_key()})
        assert answer.status_code == 200, answer.text


def buy_at_once(shop: Server, card: str = CARD) -> httpx2.Response:
    """Over the checkout contract."""
    form = order_form(
        card=card, email=MAIL, address={"street": STREET, "number": "7", "city": "Pune", "state": "MH", "zip_code": "411001"}
    )
    return buyer(shop).post("/checkout/process", json=form, headers={"Idempotency-Key": a_key()})


def purchase(shop: Server) -> None:
    """Over the purchases contract: a link to Payme, which nobody pays."""
    client = buyer(shop)
    good(client.post("/cart/items", json={"ambassador_id": 1}))
    good(client.post("/checkout", json={}, headers={"Idempotency-Key": a_key()}))


def test_a_buyer_of_every_door_is_forgotten_and_the_books_stay(shop: Server) -> None:
    delivered, cancelled = order_something(shop), order_something(shop)
    move(shop, cancelled, "cancelled", role=None, note=NOTE)
    at_once = buy_at_once(shop)
    assert at_once.status_code == 200, at_once.text
    assert buy_at_once(shop, "4000000000000002").status_code in {400, 402, 422}
    purchase(shop)
    good(buyer(shop).post("/api/cart/items", json={"productId": "507f1f77bcf86cd799439012", "quantity": 2}))
    found = left(shop)
    assert {"orders", "checkouts", "order_timeline", "idempotency_keys, opened", "notice_recipients, opened"} <= found

    # What is under way stands in the way, and nothing at all is erased.
    code, told = kassa(shop, "forget", "--user", str(BUYER), "--yes")
    assert code == 1
    (merchant,) = told["merchants"]
    kinds = {each["subject"].partition(":")[0] for each in merchant["in_the_way"]}
    assert kinds >= {"checkout", "order", "payment"}
    assert left(shop) == found
    assert kassa(shop, "audit", "list", "--act", "buyer")[1]["lines"] == []

    move(shop, delivered, "processing", "shipped", "delivered", note=NOTE)
    for row in shop.sql("SELECT order_id::text AS id FROM orders WHERE buyer_id = $1 AND status = 'paid'", str(BUYER)):
        move(shop, row["id"], "processing", "shipped", "delivered")
    shop.sql("SELECT kassa_move_clock('25 hours')")
    until(
        lambda: not shop.sql("SELECT 1 FROM checkouts WHERE next_at IS NOT NULL OR status IN ('paying', 'undoing')"),
        90,
        "all is over",
    )
    until(lambda: not shop.sql("SELECT 1 FROM refunds WHERE status = 'pending'"), 90, "the money is back")

    shop.sql("DELETE FROM idempotency_keys WHERE expires_at <= kassa_now()")  # as a worker does once a minute, or between the two
    code, told = kassa(shop, "forget", "--user", str(BUYER), "--dry-run")
    assert (code, told["dry_run"]) == (0, True), told
    (counted,) = told["merchants"]
    assert left(shop), "it was only counted"
    code, told = kassa(shop, "forget", "--user", str(BUYER), "--yes", "--why", "asked by letter")
    assert (code, told["merchants"]) == (0, [counted])
    assert counted["in_the_way"] == []
    assert counted["orders"] >= 4
    assert min(counted[name] for name in ("checkouts", "payments", "messages", "answers", "cart_lines")) >= 1

    assert left(shop) == set()
    assert left(shop, "512035", "530927") == set(), "what is left of the card"
    (line,) = kassa(shop, "audit", "list", "--act", "buyer")[1]["lines"]
    assert (line["subject"], line["why"]) == (f"buyer:{BUYER}", "asked by letter")
    assert kassa(shop, "forget", "--user", str(BUYER), "--yes") == (0, {"dry_run": False, "merchants": []})
    assert len(kassa(shop, "audit", "list", "--act", "buyer")[1]["lines"]) == 1
    assert kassa(shop, "verify")[1]["breaches"] == []
    assert kassa(shop, "audit", "check")[0] == 0
    look_again(shop, delivered, str(at_once.json().get("checkout_id") or at_once.json().get("id") or ""))


def look_again(shop: Server, order_id: str, checkout_id: str) -> None:
    """What the buyer could read before is still there and well-formed, without what was personal."""
    client = buyer(shop)
    answer = good(client.get(f"/api/orders/{order_id}"))
    order = answer.get("data", answer)
    assert (order["id"], order["shippingAddress"], order["status"]) == (order_id, None, "delivered")
    assert order["items"]
    for path in ("/api/orders", f"/api/orders/{order_id}/tracking", "/api/cart", "/cart", "/purchases"):
        assert client.get(path).status_code == 200, path
    assert NAME not in client.get("/api/orders").text
    if checkout_id:
        assert client.get(f"/checkout/{checkout_id}").status_code in {200, 404}


def test_a_repeat_of_an_old_key_is_no_second_purchase(shop: Server) -> None:
    key = a_key()
    form = order_form(card=CARD, email=MAIL)
    client = shop.client(BUYER + 1)
    made = client.post("/checkout/process", json=form, headers={"Idempotency-Key": key})
    assert made.status_code == 200, made.text
    for row in shop.sql("SELECT order_id::text AS id FROM orders WHERE buyer_id = $1", str(BUYER + 1)):
        move(shop, row["id"], "processing", "shipped", "delivered")
    assert kassa(shop, "forget", "--user", str(BUYER + 1), "--yes")[0] == 0
    again = client.post("/checkout/process", json=form, headers={"Idempotency-Key": key})
    assert again.status_code == 410
    assert again.json()["code"] == "forgotten"
    assert shop.sql("SELECT count(*)::int AS n FROM orders WHERE buyer_id = $1", str(BUYER + 1)) == [{"n": 1}]


def test_a_guest_is_forgotten_by_the_address_that_was_given(shop: Server) -> None:
    mail = "Guest.Canari@Example.com"
    form = order_form(
        card=CARD, email=mail, address={"street": STREET, "number": "7", "city": "Pune", "state": "MH", "zip_code": "411001"}
    )
    made = shop.client().post("/checkout/process", json=form, headers={"Idempotency-Key": a_key()})
    assert made.status_code == 200, made.text
    (row,) = shop.sql(
        "SELECT o.order_id::text AS id FROM orders o JOIN checkouts c USING (merchant_id, checkout_id) WHERE c.customer_email = $1",
        mail,
    )
    move(shop, row["id"], "processing", "shipped", "delivered")
    code, told = kassa(shop, "forget", "--email", mail.lower(), "--yes")
    assert (code, told["merchants"][0]["answers"]) == (0, 4), "the own one, and those to staff who moved the order"
    assert left(shop, mail, STREET) == set()
    (line, *_) = kassa(shop, "audit", "list", "--act", "buyer")[1]["lines"]
    assert line["subject"].startswith("guest:")
    assert mail.lower() not in json.dumps(line).lower()


@pytest.mark.parametrize("words", [(), ("--user", "1", "--email", "a@b"), ("--user", "1")])
def test_it_is_asked_for_exactly_and_never_by_accident(shop: Server, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kassa", "forget", *words],
        env={**shop.environment, "DATABASE_URL": shop.dsn}, capture_output=True, text=True, timeout=100, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1

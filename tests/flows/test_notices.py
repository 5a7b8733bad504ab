"""What buyers are told, through the front door: e-mails over a real mail server, each once and in order, whatever happens on the way."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx2
import pytest
from tests.contracts.orders.neighbour import Call, Neighbour, QuietServer, Reply, open_for_business, saying
from tests.rig import Server
from tests.unit.notices.mailbox import Mailbox, open_mailbox

if TYPE_CHECKING:
    from tests.conftest import StartKassa

CARD = {"cardNumber": "4111111111111111", "expiryDate": "12/30"}
HOME = {"street": "1 Hill Road", "city": "Mumbai", "state": "MH", "postalCode": "400050", "country": "India"}
CONFIRMED, PAID = "Thank you for your order", "We have received your payment"
SECRET = base64.b64encode(b"a secret that all processes know").decode()
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with open_mailbox() as mailbox:
        yield mailbox


def settings(mailbox: Mailbox) -> dict[str, Any]:
    return {
        "EMAIL_BACKEND": "smtp",
        "EMAIL_FROM": "Hill Road Store <shop@example.com>",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": mailbox.port,
        "SMTP_TLS": "off",
        "KASSA_SECRET": SECRET,
    }


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa, mailbox: Mailbox) -> Server:
    return start_kassa(**settings(mailbox))


class Buyer:
    """Somebody signed in, with an address of their own."""

    def __init__(self, server: Server, **claims: Any) -> None:
        self.user = 70_000 + next(_numbers)
        self.email = f"buyer{self.user}@example.com"
        given = {"email": self.email, "first_name": "Asha", "last_name": "Rao", **claims}
        self.client = httpx2.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.token(self.user, **given)}"},
            timeout=30,
            trust_env=False,
        )

    def order(self, method: str = "credit_card") -> dict[str, Any]:
        self.client.post("/api/cart/items", json={"productId": "prod_001", "quantity": 2}).raise_for_status()
        wish: dict[str, Any] = {"shippingAddress": HOME, "paymentMethod": method}
        if method == "credit_card":
            wish["paymentDetails"] = CARD
        answer = self.client.post("/api/orders", json=wish)
        assert answer.status_code == 201, answer.text
        placed: dict[str, Any] = answer.json()["data"]
        return placed


@pytest.fixture
def sign_in() -> Iterator[Callable[..., Buyer]]:
    with contextlib.ExitStack() as opened:

        def sign_in(server: Server, **claims: Any) -> Buyer:
            buyer = Buyer(server, **claims)
            opened.enter_context(buyer.client)
            return buyer

        yield sign_in


class Post:
    """A Mailgun: it keeps the forms that it was given."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.url = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Post]:
        post = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                assert self.path == "/v3/mg.example.com/messages"
                post.forms.append(dict(parse_qsl(raw, strict_parsing=True)))
                said = b'{"id": "<1@mg.example.com>", "message": "Queued. Thank you."}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Say nothing."""

        with QuietServer(("127.0.0.1", 0), Handler) as server:
            post.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield post
            finally:
                server.shutdown()
                thread.join()


class Town(Neighbour):
    """Users and notifications behind one address."""

    def topic(self, call: Call) -> str:
        return call.path.split("/")[2]

    def work(self, call: Call) -> Reply:
        if self.topic(call) == "users":
            user = call.path.rpartition("/")[2]
            return saying(200, id=int(user), email=f"home{user}@example.com", name="Asha at home")
        return saying(202, status="queued")


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with open_for_business(Town()) as town:
        yield town


def move(server: Server, order: dict[str, Any], status: str, **more: Any) -> None:
    staff = server.client(1, role="staff")
    staff.put(f"/api/orders/{order['id']}/status", json={"status": status, **more}).raise_for_status()


def eventually(look: Callable[[], Any], within: float = 30) -> Any:
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def subjects(mailbox: Mailbox, email: str) -> list[str]:
    return [str(letter.message["Subject"]) for letter in mailbox.to(email)]


def settled(server: Server, order: dict[str, Any]) -> bool:
    return not server.sql("SELECT FROM notices WHERE order_id = $1::text::uuid AND status = 'pending'", order["id"])


def test_a_buyer_is_written_to_at_each_step_once_and_in_order(
    shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    buyer = sign_in(shop)
    order = buyer.order()
    mailbox.wait(buyer.email, 2)
    move(shop, order, "processing")
    move(shop, order, "shipped", trackingNumber="AWB 1234 5678 9012", carrier="Blue Dart")
    move(shop, order, "delivered")
    letters = mailbox.wait(buyer.email, 5)
    number = order["orderNumber"]
    assert [str(letter.message["Subject"]) for letter in letters] == [
        f"Thank you for your order {number}",
        f"We have received your payment for {number}",
        f"We are preparing your order {number}",
        f"Your order {number} is on its way",
        f"Your order {number} has arrived",
    ]
    assert all(letter.message["From"] == "Hill Road Store <shop@example.com>" for letter in letters)
    assert all(letter.message["To"] == f"Asha Rao <{buyer.email}>" for letter in letters)
    assert "₹199.80" in letters[0].text
    assert "1 Hill Road" in letters[0].html
    assert "AWB 1234 5678 9012" in letters[3].text
    assert len({letter.id for letter in letters}) == 5
    assert eventually(lambda: settled(shop, order))
    assert len(mailbox.to(buyer.email)) == 5


@pytest.mark.parametrize(
    ("language", "subject", "follow"),
    [
        ("ru-RU,ru;q=0.9,en;q=0.5", "Спасибо за заказ", "Следить за заказом"),
        ("uz", "buyurtmangiz uchun rahmat", "Buyurtmani kuzatish"),
    ],
)
def test_a_buyer_is_written_to_in_the_language_of_the_browser_and_led_to_the_order(
    shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer], language: str, subject: str, follow: str
) -> None:
    buyer = sign_in(shop)
    buyer.client.headers["Accept-Language"] = language
    order = buyer.order()
    first, _ = mailbox.wait(buyer.email, 2)
    assert subject in str(first.message["Subject"])
    assert follow in first.html
    [link] = set(re.findall(r"https?://\S+", first.text))
    assert link.startswith(f"http://localhost:{shop.url.rpartition(':')[2]}/track/{order['id']}?t=")
    page = shop.client().get(link.replace("//localhost:", "//127.0.0.1:"), headers={"Accept-Language": language})
    assert page.status_code == 200
    assert order["orderNumber"] in page.text


def test_every_door_hears_in_which_language_the_buyer_reads(shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]) -> None:
    """A guest with a card in one call, and a cart of ambassadors that waits for Payme; the tracking page of either opens."""
    guest, buyer = f"guest{next(_numbers)}@example.com", sign_in(shop)
    form = {
        "payment_method": {"type": "debit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "847"},
        "customer_email": guest,
        "shipping_address": {"street": "Rua das Flores", "number": "12", "city": "Recife", "state": "PE", "zip_code": "50000"},
        "items": [{"product_id": "prod_001", "quantity": 1}],
    }
    shop.client().post("/checkout/process", json=form, headers={"Accept-Language": "uz"}).raise_for_status()
    buyer.client.post("/cart/items", json={"ambassador_id": 1}).raise_for_status()
    buyer.client.post("/checkout", headers={"Accept-Language": "ru"}).raise_for_status()
    uzbek, russian = mailbox.wait(guest, 1)[0], mailbox.wait(buyer.email, 1)[0]
    assert "Karta" in uzbek.text
    assert "Спасибо за заказ" in str(russian.message["Subject"])
    for letter in (uzbek, russian):
        [link] = set(re.findall(r"https?://\S+", letter.text))
        assert shop.client().get(link.replace("//localhost:", "//127.0.0.1:")).status_code == 200


def test_letters_name_no_page_where_pages_are_not_served(
    start_kassa: StartKassa, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    bare = start_kassa(**settings(mailbox), PAGES="off")
    buyer = sign_in(bare)
    buyer.order()
    assert "http" not in mailbox.wait(buyer.email, 2)[0].text


def test_a_guest_is_written_to_at_the_address_of_the_form(shop: Server, mailbox: Mailbox) -> None:
    email = f"guest{next(_numbers)}@example.com"
    form = {
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "847"},
        "customer_email": email,
        "shipping_address": {"street": "Rua das Flores", "number": "12", "city": "Recife", "state": "PE", "zip_code": "50000"},
        "items": [{"product_id": "prod_001", "quantity": 1}],
    }
    assert httpx2.post(f"{shop.url}/checkout/process", json=form, trust_env=False, timeout=30).status_code == 200
    letters = mailbox.wait(email, 2)
    assert [str(letter.message["Subject"])[:20] for letter in letters] == [CONFIRMED[:20], PAID[:20]]
    assert letters[0].message["To"] == email
    assert "Rua das Flores 12" in letters[0].text
    for letter in letters:
        assert not re.search(r"4111|847|12/25", letter.text + letter.html)


def test_a_cancel_and_the_money_that_goes_back_are_two_letters(
    shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    buyer = sign_in(shop)
    order = buyer.order()
    mailbox.wait(buyer.email, 2)
    buyer.client.put(f"/api/orders/{order['id']}/status", json={"status": "cancelled"}).raise_for_status()
    letters = mailbox.wait(buyer.email, 4)[2:]
    found = {str(letter.message["Subject"]): letter for letter in letters}
    number = order["orderNumber"]
    assert set(found) == {f"Your order {number} was cancelled", f"Your refund for order {number}"}
    assert "goes back to you in full" in found[f"Your order {number} was cancelled"].text
    assert "₹199.80" in found[f"Your refund for order {number}"].text


def test_a_letter_that_was_refused_for_now_comes_again_before_the_next(
    shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    buyer = sign_in(shop)
    mailbox.refused[buyer.email] = "451 4.7.1 greylisted, come back"
    order = buyer.order()
    eventually(lambda: [to for to, _ in mailbox.tried if to == buyer.email])
    del mailbox.refused[buyer.email]
    mailbox.wait(buyer.email, 2)
    assert [said[:20] for said in subjects(mailbox, buyer.email)] == [CONFIRMED[:20], PAID[:20]]
    assert eventually(lambda: settled(shop, order))


def test_a_buyer_without_an_address_is_not_written_to_and_nothing_is_stuck(
    shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    before = len(mailbox.letters)
    order = sign_in(shop, email=None).order("cash_on_delivery")
    assert eventually(lambda: settled(shop, order))
    told = shop.sql("SELECT status, last_answer FROM notices WHERE order_id = $1::text::uuid", order["id"])
    assert told == [{"status": "sent", "last_answer": "no address"}] * 2
    assert not [letter for letter in mailbox.letters[before:] if order["orderNumber"] in str(letter.message["Subject"])]


def test_an_address_is_not_in_the_log(shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]) -> None:
    buyer = sign_in(shop)
    mailbox.refused[buyer.email] = f"550 5.1.1 <{buyer.email}> does not exist"
    order = buyer.order()
    assert eventually(lambda: settled(shop, order))
    assert buyer.email not in shop.log_text()
    assert "Hill Road,".lower() not in shop.log_text().lower()
    listed = shop.sql("SELECT * FROM cases WHERE subject = $1", f"order:{order['id']}")
    assert len(listed) == 2, "a person sees that nobody could be told"
    assert buyer.email not in str(listed)
    assert not shop.sql("SELECT FROM notices t WHERE t::text LIKE $1", f"%{buyer.email}%")


def test_two_processes_write_each_letter_once(
    start_kassa: StartKassa, shop: Server, mailbox: Mailbox, sign_in: Callable[..., Buyer]
) -> None:
    second = start_kassa(database=shop.dsn, **settings(mailbox))
    buyers = [sign_in(shop) for _ in range(8)]
    placed = [buyer.order() for buyer in buyers]
    for buyer in buyers:
        mailbox.wait(buyer.email, 2)
    assert eventually(lambda: all(settled(second, order) for order in placed))
    for buyer in buyers:
        assert [said[:20] for said in subjects(mailbox, buyer.email)] == [CONFIRMED[:20], PAID[:20]]


def test_a_process_that_dies_between_the_yes_and_its_note_sends_the_same_letter_again(
    start_kassa: StartKassa, sign_in: Callable[..., Buyer]
) -> None:
    with open_mailbox() as mailbox:
        server = start_kassa(**settings(mailbox))
        buyer = sign_in(server)
        mailbox.on_letter = lambda _: server.process.kill() if server.process else None
        buyer.order("cash_on_delivery")
        server.wait()
        assert len(mailbox.letters) == 1
        mailbox.on_letter = None
        server.start()
        # The lease of the dead is waited for, as the bare clock of the database tells it.
        server.sql("UPDATE notices SET lease_until = now() WHERE lease_until IS NOT NULL")
        first, again, later = mailbox.wait(buyer.email, 3)
        assert first.raw.replace(b"\r", b"") == again.raw.replace(b"\r", b"")
        assert first.id == again.id != later.id
        assert "preparing" in str(later.message["Subject"])


def test_after_three_days_a_person_finds_what_could_not_be_said(start_kassa: StartKassa, sign_in: Callable[..., Buyer]) -> None:
    with open_mailbox() as mailbox:
        server = start_kassa(**settings(mailbox))
        buyer = sign_in(server)
        mailbox.refused[buyer.email] = "451 not now"
        order = buyer.order("cash_on_delivery")
        eventually(lambda: mailbox.tried)
        server.sql("SELECT kassa_move_clock(interval '73 hours')")
        cases = eventually(lambda: server.sql("SELECT kind, subject FROM cases WHERE closed_at IS NULL"))
        assert cases[0] == {"kind": "notice_not_sent", "subject": f"order:{order['id']}"}
        assert eventually(lambda: settled(server, order))
        assert mailbox.letters == []


# Death at each point on the way


def reborn(server: Server) -> None:
    """Start it again without its kill point, as if the leases of the dead were over."""
    server.wait()
    del server.environment["KASSA_CRASH_AT"]
    server.start()
    server.sql("UPDATE notices SET lease_until = now() WHERE lease_until IS NOT NULL")


@pytest.mark.parametrize("moment", ["before_call", "after_call"])
def test_who_dies_while_asking_the_user_service_has_sold_and_will_write(
    start_kassa: StartKassa, town: Town, sign_in: Callable[..., Buyer], moment: str
) -> None:
    with open_mailbox() as mailbox:
        server = start_kassa(**settings(mailbox), USER_SERVICE_URL=town.url, KASSA_CRASH_AT=f"user:{moment}")
        buyer = sign_in(server)
        with contextlib.suppress(httpx2.HTTPError):
            buyer.order("cash_on_delivery")
        reborn(server)
        letters = mailbox.wait(buyer.email, 2)
        assert [str(letter.message["Subject"]).split(" ORD")[0] for letter in letters] == [CONFIRMED, "We are preparing your order"]
        assert eventually(lambda: not server.sql("SELECT FROM notices WHERE status = 'pending'"))
        assert len(mailbox.letters) == 2


@pytest.mark.parametrize(("moment", "handed_over"), [("before_call", 2), ("after_call", 3)])
def test_who_dies_while_handing_over_to_mailgun_hands_over_the_same_letter(
    start_kassa: StartKassa, sign_in: Callable[..., Buyer], moment: str, handed_over: int
) -> None:
    with Post.open() as post:
        account = {"MAILGUN_URL": post.url, "MAILGUN_DOMAIN": "mg.example.com", "MAILGUN_API_KEY": "key-1"}
        server = start_kassa(
            EMAIL_BACKEND="mailgun", MAILGUN_FROM_EMAIL="Shop <shop@example.com>", **account, KASSA_CRASH_AT=f"mailgun:{moment}"
        )
        buyer = sign_in(server)
        with contextlib.suppress(httpx2.HTTPError):
            buyer.order("cash_on_delivery")
        reborn(server)
        assert eventually(lambda: not server.sql("SELECT FROM notices WHERE status = 'pending'"))
        forms = post.forms
        assert len(forms) == handed_over
        assert len({form["h:Message-Id"] for form in forms}) == 2
        assert {form["to"] for form in forms} == {f"Asha Rao <{buyer.email}>"}
        assert forms[-1]["subject"].startswith("We are preparing your order")


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_who_dies_while_burying_a_message_lists_it_once_all_the_same(
    start_kassa: StartKassa, sign_in: Callable[..., Buyer], moment: str
) -> None:
    with open_mailbox() as mailbox:
        server = start_kassa(**settings(mailbox), KASSA_CRASH_AT=f"notices.dead:{moment}")
        buyer = sign_in(server)
        mailbox.refused[buyer.email] = "550 5.1.1 nobody here"
        with contextlib.suppress(httpx2.HTTPError):
            buyer.order("cash_on_delivery")
        reborn(server)
        assert eventually(lambda: not server.sql("SELECT FROM notices WHERE status = 'pending'"))
        listed = server.sql("SELECT act, last_answer FROM cases WHERE kind = 'notice_not_sent'")
        assert sorted(case["last_answer"] for case in listed) == [
            "order.created: recipient refused: 550",
            "order.processing: recipient refused: 550",
        ]


def test_a_notification_service_takes_the_place_of_letters(start_kassa: StartKassa, sign_in: Callable[..., Buyer]) -> None:
    with open_mailbox() as mailbox, open_for_business(Town()) as town:
        server = start_kassa(**settings(mailbox), NOTIFICATION_SERVICE_URL=town.url)
        buyer = sign_in(server)
        order = buyer.order()
        assert eventually(lambda: len(town.calls("POST", "notifications")) >= 2)
        assert [call.body["type"] for call in town.calls("POST", "notifications")] == ["order_confirmation", "payment_confirmation"]
        assert all(set(call.body) == {"user_id", "order_id", "type"} for call in town.diary)
        assert eventually(lambda: settled(server, order))
        assert mailbox.letters == []


# The user service


@pytest.fixture(scope="module")
def known(start_kassa: StartKassa, mailbox: Mailbox, town: Town) -> Server:
    return start_kassa(**settings(mailbox), USER_SERVICE_URL=town.url)


def test_letters_go_where_the_user_service_says(known: Server, mailbox: Mailbox, town: Town, sign_in: Callable[..., Buyer]) -> None:
    buyer = sign_in(known)
    buyer.order()
    letters = mailbox.wait(f"home{buyer.user}@example.com", 2)
    assert letters[0].message["To"] == f"Asha at home <home{buyer.user}@example.com>"
    assert mailbox.to(buyer.email) == []
    [asked] = [call for call in town.calls("GET", "users") if call.path == f"/api/users/{buyer.user}"]
    assert asked.headers["Authorization"] == buyer.client.headers["Authorization"]
    buyer.order()
    mailbox.wait(f"home{buyer.user}@example.com", 4)
    assert len([call for call in town.calls("GET", "users") if call.path == f"/api/users/{buyer.user}"]) == 1, "it is remembered"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(delay=4, works=True),
        saying(500, detail="broken"),
        saying(401),
        saying(200, id=1, email="stranger@example.com"),
        Reply(cut=True),
    ],
    ids=["slow", "broken", "unauthorized", "somebody else", "cut"],
)
def test_a_user_service_in_trouble_delays_no_purchase_and_loses_no_letter(
    known: Server, mailbox: Mailbox, town: Town, sign_in: Callable[..., Buyer], reply: Reply
) -> None:
    buyer = sign_in(known)
    town.will("GET", "users", reply)
    began = time.monotonic()
    buyer.order()
    assert time.monotonic() - began < 2
    mailbox.wait(buyer.email, 2)
    assert mailbox.to("stranger@example.com") == []
    assert [said[:20] for said in subjects(mailbox, buyer.email)] == [CONFIRMED[:20], PAID[:20]]


# Development


def test_a_developer_sees_letters_on_the_screen(start_kassa: StartKassa, sign_in: Callable[..., Buyer]) -> None:
    server = start_kassa()
    buyer = sign_in(server)
    order = buyer.order()
    shown = eventually(lambda: (text := server.log_text()).count("e-mail (console)") >= 2 and text)
    assert f"To:      Asha Rao <{buyer.email}>" in shown
    assert f"Thank you for your order {order['orderNumber']}" in shown
    assert "4111" not in shown

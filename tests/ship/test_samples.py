"""What the documents tell to type is typed here, and does what they say: from the first page to the worked example of a provider."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook
from tests import rig
from tests.conftest import StartKassa
from tests.ship.samples import apply_diff, blocks, only, typed

ADDRESS = {"street": "1", "city": "Mumbai", "state": "MH", "postalCode": "400001", "country": "India"}
EVENT = b'{"id":"019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d","type":"payment.paid","data":{"order_id":1001}}'


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> rig.Server:
    """A server as `make run` starts it."""
    return start_kassa()


def as_module(tmp_path: Path, name: str, text: str) -> ModuleType:
    """A block of Python as a module."""
    (tmp_path / f"{name}.py").write_text(text)
    spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clean(server: rig.Server) -> bool:
    """Whether the books are right."""
    return "✓" in typed(server, ".venv/bin/kassa verify", server.home)


# ── start in five minutes ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_five_minutes_end_with_money_given_back_and_right_books(shop: rig.Server) -> None:
    commands = [each.text for each in blocks("start.md", "sh")]
    run, kill = commands.pop(0), commands.pop()
    assert run == "make run\n"
    assert kill.startswith("kill -9 $(cat .kassa/lock)")
    printed = typed(shop, "".join(commands), shop.home)
    assert "Idempotent-Replayed: true".lower() in printed.lower()
    assert shop.sql("SELECT count(*) AS n FROM orders") == [{"n": 1}]
    assert shop.sql("SELECT status FROM payments") == [{"status": "refunded"}]
    assert "refunded" in printed
    assert "✓" in printed


# ── the contracts' first calls ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("orders", '"paymentUrl":"http'),
        ("checkout", '"status":"completed"'),
        ("purchases", '"payment_url":"https://test.paycom.uz'),
        ("payments", '"status":"PAYMENT_PENDING"'),
        ("webhooks", '"secret":"whsec_'),
        ("payme", "260"),
        ("grpc", "Payment succeeded"),
    ],
)
def test_the_first_call_of_a_contract_is_answered_as_it_says(shop: rig.Server, page: str, says: str) -> None:
    printed = typed(shop, blocks(f"contracts/{page}.md", "sh")[0].text, rig.ROOT)
    assert says in printed.replace('": "', '":"'), printed


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_payme_is_tried_without_payme(shop: rig.Server) -> None:
    buying, replay = blocks("recipes/payme.md", "sh")[0].text.rsplit("\n", 2)[:2]
    assert replay == blocks("contracts/payme.md", "sh")[0].text.strip(), "which is typed above"
    assert '"payment_url"' in typed(shop, buying, rig.ROOT)


def test_a_rush_for_the_last_seat_sells_it_once(shop: rig.Server, tmp_path: Path) -> None:
    page = "recipes/tickets.md"
    (tmp_path / "rush.py").write_text(only(page, "python", "rush.py"))
    put_up, rush, verify = (each.text for each in blocks(page, "sh"))
    assert re.search(r"^added +21 ", typed(shop, put_up, tmp_path), re.MULTILINE)
    assert re.search(r"^unchanged +21 ", typed(shop, put_up, tmp_path), re.MULTILINE), "typed twice"
    seat, standing = typed(shop, rush.replace("200", "40"), tmp_path).splitlines()
    assert "'completed': 1," in seat or "'completed': 1}" in seat
    assert "'stock_insufficient': 39" in seat
    assert standing.startswith("standing {'completed': 40}")
    typed(shop, verify, tmp_path)
    assert shop.sql("SELECT available FROM stock_levels WHERE product_id = 'row-a-12'") == [{"available": 0}]


def test_a_payment_by_link_is_asked_for_over_grpc_and_reported(start_kassa: StartKassa, tmp_path: Path) -> None:
    page = "recipes/grpc-link.md"
    server = start_kassa(GRPC_PAYMENT_PROVIDER="external")
    (tmp_path / "by_link.py").write_text(only(page, "python", "by_link.py"))
    command = blocks(page, "sh")[-1].text
    told = (rig.ROOT / "docs" / page).read_text()
    printed = typed(server, command, tmp_path)
    assert f"```\n{printed}```" in told
    assert server.sql("SELECT count(*) AS n FROM payments") == [{"n": 1}]


def test_code_for_another_api_is_moved(shop: rig.Server, tmp_path: Path) -> None:
    _, after = (each.text for each in blocks("recipes/from-stripe-like.md", "python"))
    moved: Any = as_module(tmp_path, "moved", after)
    moved.API, moved.API_KEY = shop.url, "sk_demo_1"
    link = moved.pay(77_001, "349.70")
    assert moved.pay(77_001, "349.70") == link, "pressed twice"
    (payment,) = shop.client(headers={"X-Api-Key": "sk_demo_1"}).get("/api/v1/payments?order_id=77001").json()["items"]
    with shop.client() as buyer:
        buyer.post(f"/sandbox/payments/{link.rpartition('/')[2]}/accept").raise_for_status()
    until(lambda: shop.sql("SELECT status FROM payments WHERE ref = '77001'") == [{"status": "paid"}])
    first, again = (moved.give_back(payment["payment_id"], "10.00", "r-1") for _ in range(2))
    assert first == again
    assert first["refundable"] == "339.70"


@pytest.mark.parametrize("spoilt", ["", "body", "id", "time", "old", "secret"])
def test_a_signature_is_verified_in_python(tmp_path: Path, spoilt: str) -> None:
    verify: Any = as_module(tmp_path, "verify", only("recipes/verify-webhooks.md", "python", "verify.py"))
    secret, headers, body = signed(spoilt)
    if not spoilt:
        assert verify.verified(secret, headers, body) == json.loads(EVENT)
    else:
        with pytest.raises(ValueError, match=r"not signed by us|too old"):
            verify.verified(secret, headers, body)


def test_a_signature_is_verified_in_node(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: the sample for it is not run")
    (tmp_path / "verify.mjs").write_text(only("recipes/verify-webhooks.md", "javascript", "verify.mjs"))
    (tmp_path / "ask.mjs").write_text(
        'import { verified } from "./verify.mjs";\n'
        "for (const [secret, headers, body] of JSON.parse(process.argv[2])) {\n"
        '  try { console.log(verified(secret, headers, Buffer.from(body, "base64")).type); } catch (error) { console.log(error.message); }\n'
        "}\n"
    )
    cases = [signed(spoilt) for spoilt in ("", "rotated", "body", "id", "time", "old", "secret")]
    asked = json.dumps([(secret, headers, base64.b64encode(body).decode()) for secret, headers, body in cases])
    done = subprocess.run([node, "ask.mjs", asked], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    no = "not signed by us"
    assert done.stdout.splitlines() == ["payment.paid", "payment.paid", no, no, no, "too old, or from the future", no]


def signed(spoilt: str) -> tuple[str, dict[str, str], bytes]:
    """A secret, the headers and the body of a delivery, signed by the library; and what a forger would change."""
    key = secrets.token_bytes(32)
    secret = "whsec_" + base64.b64encode(key).decode()
    at = datetime.now(UTC) - timedelta(minutes=6 if spoilt == "old" else 0)
    headers = {
        "webhook-id": "019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d", at, EVENT.decode()),
    }
    match spoilt:
        case "rotated":
            headers["webhook-signature"] = f"v1,{base64.b64encode(bytes(32)).decode()} {headers['webhook-signature']}"
        case "body":
            return secret, headers, EVENT.replace(b"1001", b"1002")
        case "id":
            headers["webhook-id"] = "019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1e"
        case "time":
            headers["webhook-timestamp"] = str(int(at.timestamp()) + 1)
        case "secret":
            secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secret, headers, EVENT


NGINX = """
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@pytest.fixture
def proxied(shop: rig.Server, tmp_path: Path) -> Iterator[str]:
    """Where an nginx with the page's configuration stands before the shop: without TLS, at a free port, as whoever runs the test."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:" + os.environ.get("PATH", ""))
    if nginx is None:
        pytest.skip("nginx is not installed: its sample is not tried")
    port = rig.free_port()
    server = only("recipes/proxy.md", "nginx", "kassa.conf").replace("127.0.0.1:8000", shop.url.removeprefix("http://"))
    assert "listen 443 ssl;" in server
    lines = [line for line in server.replace("443 ssl", f"127.0.0.1:{port}").splitlines() if "ssl_certificate" not in line]
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, server="\n".join(lines)))
    command = [nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: rig.answers(f"http://127.0.0.1:{port}/ready"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_a_proxy_passes_buyers_on_and_keeps_the_rest_away(shop: rig.Server, proxied: str) -> None:
    with httpx2.Client(base_url=proxied, trust_env=False, timeout=20) as world:
        assert world.get("/api/products?limit=1").status_code == 200
        assert world.get("/metrics").status_code == 404
        assert world.get("/office").status_code == 403
        asked = {"order_id": 88_001, "amount": 1, "price": "10.00", "alias": "stripe"}
        assert world.post("/api/v1/payments", json=asked, headers={"X-Merchant-Id": "1"}).status_code == 401
        assert world.post("/api/v1/payments", json=asked, headers={"X-Api-Key": "sk_demo_1"}).status_code == 200
        world.headers["Authorization"] = f"Bearer {shop.token(8)}"
        world.post("/api/cart/items", json={"productId": "prod_004"}).raise_for_status()
        made = world.post("/api/orders", json={"shippingAddress": ADDRESS, "paymentMethod": "credit_card"}).json()
        with world.stream("GET", f"/api/orders/{made['data']['id']}/events") as live:
            until_said = iter(live.iter_lines())
            assert next(until_said).startswith("id: "), "the first event comes at once, not when a buffer is full"


# ── the worked example of a provider ─────────────────────────────────────────────────────────────────────────────────


class TallyService(ThreadingHTTPServer):
    """A stranger that collects by UPI: it keeps a book by key, declines sums that end in 13, and can be silent after booking."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tally)
        self.book: dict[str, dict[str, Any]] = {}
        self.charges: list[str] = []
        self.returned: dict[str, int] = {}
        self.silent = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Tally(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TallyService

    def do_GET(self) -> None:
        booked = self.server.book.get(self.path.rpartition("/")[2].replace("%3A", ":"))
        self._say(200 if booked else 404, booked or {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if self.path.endswith("/returns"):
            self.server.returned.setdefault(key, body["amount_minor"])
            self._say(200, {"state": "returned"})
            return
        self.server.charges.append(key)
        refused = body["amount_minor"] % 100 == 13
        said = (
            {"state": "refused", "why": "limit_exceeded"} if refused else {"state": "collected", "id": f"T{len(self.server.book)}"}
        )
        self.server.book.setdefault(key, said)
        if self.server.silent:
            self.server.silent -= 1
            self.close_connection = True
            return  # booked, and never answered
        self._say(200, self.server.book[key])

    def _say(self, status: int, content: dict[str, Any]) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def tally() -> Iterator[TallyService]:
    with TallyService() as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture(scope="module")
def with_tally(start_kassa: StartKassa, tally: TallyService, tmp_path_factory: pytest.TempPathFactory) -> rig.Server:
    """A server of the source to which the page's steps were applied, and of nothing else."""
    page, copy = "recipes/provider.md", tmp_path_factory.mktemp("changed")
    shutil.copytree(rig.ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    module = "src/kassa/payments/providers/tally.py"
    (copy / module).write_text(only(page, "python", module))
    for each in blocks(page, "diff"):
        apply_diff(copy / each.title, each.text)
    return start_kassa(TALLY_URL=tally.url, PYTHONPATH=str(copy / "src"))


def buy(server: rig.Server, user: int, product: str, quantity: int) -> Callable[[], str]:
    """Order by UPI; gives what the payment of the order is now."""
    client = server.client(user=user)
    client.post("/api/cart/items", json={"productId": product, "quantity": quantity}).raise_for_status()
    made = client.post("/api/orders", json={"shippingAddress": ADDRESS, "paymentMethod": "upi"})
    made.raise_for_status()
    order = made.json()["data"]["id"]
    return lambda: str(client.get(f"/api/orders/{order}").json()["data"]["paymentStatus"])


def until(holds: Callable[[], bool]) -> None:
    """Wait until it is so; fails after 20 s."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_worked_provider_collects_declines_and_gives_back(with_tally: rig.Server, tally: TallyService) -> None:
    paid = buy(with_tally, 1, "prod_001", 2)
    until(lambda: paid() == "paid")
    (payment,) = with_tally.sql("SELECT provider, provider_ref, provider_key FROM payments")
    assert payment["provider"] == "tally"
    assert tally.book[payment["provider_key"]] == {"state": "collected", "id": payment["provider_ref"]}
    order = with_tally.sql("SELECT order_id::text AS id FROM orders")[0]["id"]
    with_tally.client(user=1).put(f"/api/orders/{order}/status", json={"status": "cancelled"}).raise_for_status()
    until(lambda: paid() == "refunded" and list(tally.returned.values()) == [19980])
    declined = buy(with_tally, 2, "prod_005", 13)
    until(lambda: declined() == "failed")


def test_the_worked_provider_is_asked_after_silence_and_charges_once(with_tally: rig.Server, tally: TallyService) -> None:
    before = len(tally.charges)
    tally.silent = 1
    paid = buy(with_tally, 3, "prod_003", 1)
    until(lambda: paid() == "paid")
    assert len(tally.charges) == before + 1, "it was sent once, and then asked about"
    assert clean(with_tally)


def test_a_diff_that_does_not_fit_any_more_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one\ntwo\n")
    apply_diff(file, " one\n+between\n two\n")
    assert file.read_text() == "one\nbetween\ntwo\n"
    with pytest.raises(AssertionError, match="0 times"):
        apply_diff(file, "-three\n+four\n")

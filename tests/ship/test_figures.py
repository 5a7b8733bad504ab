"""What operators are shown of a deployment: figures of each process, and log lines that say whose they are."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests import rig
from tests.ship.programs import Program, opened
from tests.ship.scraping import Page, scrape, until

from kassa.bootstrap import assemble
from kassa.settings import Settings

if TYPE_CHECKING:
    from tests.conftest import StartSandbox

SECRET = base64.b64encode(bytes(range(32))).decode()
TOKEN = "what-only-the-scraper-and-tests-know"
CARD = {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/30", "card_cvv": "123"}
ADDRESS = {"street": "Rua das Flores", "number": "123", "city": "São Paulo", "state": "SP", "zip_code": "01234-567"}
REQUEST = "the-request-of-a-silent-charge"


@dataclass
class Town:
    """A deployment: a process for each part, and the stand-in of a payment service."""

    sandbox: rig.Sandbox
    serve: str
    work: str
    rpc: str
    log: Path

    def buy(self, email: str, **more: Any) -> httpx2.Response:
        form = {
            "payment_method": {**CARD, **more.pop("card", {})},
            "customer_email": email,
            "shipping_address": ADDRESS,
            "items": [{"product_id": "prod_002", "quantity": 1}],
        }
        return httpx2.post(f"{self.serve}/checkout/process", json=form, trust_env=False, timeout=60, **more)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def town(
    database_server: rig.DatabaseServer, start_sandbox: StartSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    """A purchase, a decline, and a charge whose provider says nothing and cannot be asked."""
    home, dsn, sandbox = tmp_path_factory.mktemp("figures"), database_server.fresh(), start_sandbox()
    ports = {word: rig.free_port() for word in ("serve", "work", "rpc")}
    own = {
        "DATABASE_URL": dsn, "PRODUCTION": "false", "KASSA_HOME": str(home / "k"), "JWT_SECRET": rig.JWT_SECRET, "KASSA_SECRET": SECRET,
        "DATABASE_POOL_SIZE": "4", "PROVIDER_WEBHOOK_SECRET": rig.WEBHOOK_SECRET, "VERIFY_EVERY_S": "1", "METRICS_TOKEN": TOKEN,
        "GRPC_PORT": str(rig.free_port()), "HTTP_PORT": str(ports["serve"]), "JWT_SECRET_OLD": rig.JWT_SECRET[::-1],
        **sandbox.settings("payment"),
    }  # fmt: skip
    rig.run_alone(lambda: _seed(own))
    words = {"serve": ["serve"], "work": ["work", "--metrics-port", str(ports["work"])], "rpc": ["rpc"]}
    at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with opened() as nursery:
        programs = {}
        for name, given in words.items():
            (home / name).mkdir()
            more = {"METRICS_PORT": str(ports[name])} if name == "rpc" else {}
            programs[name] = Program(nursery, given, {**own, **more}, home / name)
            programs[name].start()
        for name, program in programs.items():
            program.wait_until(partial(rig.answers, f"{at[name]}/ready"))
        yield _with_a_story(Town(sandbox, at["serve"], at["work"], at["rpc"], home / "serve" / "log"))
        for program in programs.values():
            program.ask_to_end()
        assert [program.code(30) for program in programs.values()] == [0, 0, 0]


async def _seed(own: dict[str, str]) -> None:
    given = {name: own[name] for name in ("DATABASE_URL", "KASSA_HOME", "JWT_SECRET", "KASSA_SECRET")}
    async with assemble(Settings.load(True, **given)) as kassa:
        await kassa.seed()


def _with_a_story(town: Town) -> Town:
    town.sandbox.script("payment", "process", "book_then_cut", match={"customer_email": "silent@example.com"})
    town.sandbox.default("payment", "by_key", "error", status=500)
    headers = {"X-Request-Id": REQUEST}
    threading.Thread(target=lambda: town.buy("silent@example.com", headers=headers), daemon=True).start()
    until(lambda: scrape(town.serve).sum("kassa_payment_moves_total", to="unknown", way="card") == 1)
    assert town.buy("happy@example.com").status_code == 200
    assert town.buy("refused@example.com", card={"card_number": "4000000000000002"}).status_code == 422
    return town


def test_money_is_counted_by_the_process_that_committed_it(town: Town) -> None:
    page = scrape(town.serve)
    assert page.sum("kassa_captures_total", way="card") == 1
    assert page.sum("kassa_declines_total", way="card", why="refused") == 1
    assert page.sum("kassa_declines_total") == 1
    assert page.sum("kassa_events_total", type="checkout.completed") == 1
    assert page.sum("kassa_events_total", type="checkout.started") == 3
    assert scrape(town.rpc).sum("kassa_captures_total") == 0


@pytest.mark.parametrize("process", ["serve", "work", "rpc"])
def test_every_process_shows_what_is_in_doubt_in_the_shop(town: Town, process: str) -> None:
    url: str = getattr(town, process)
    until(lambda: scrape(url).sum("kassa_payment_in_doubt_oldest_seconds", status="unknown") > 1)
    page = scrape(url)
    assert page.of("kassa_payments_in_doubt", status="unknown") == [1]
    assert page.of("kassa_payments_in_doubt", status="parked") == [0]
    assert page.of("kassa_reservations_overdue") == [0]
    assert page.of("kassa_refunds_open", status="parked") == [0]
    assert page.of("kassa_database_up") == page.of("kassa_ready") == [1]
    assert page.of("kassa_secret_rotating", secret="JWT_SECRET") == [1]
    assert page.of("kassa_secret_rotating", secret="KASSA_SECRET") == [0]
    assert [labels["version"] for name, labels, _ in page.samples if name == "kassa_build_info"]


def test_the_machine_is_in_the_figures(town: Town) -> None:
    page = scrape(town.serve)
    assert page.sum("kassa_transaction_seconds_count", transaction="checkout.start") == 3
    assert page.sum("kassa_statement_seconds_count") > page.sum("kassa_transaction_seconds_count", transaction="checkout.start")
    assert page.sum("kassa_pool_wait_seconds_count") >= page.sum("kassa_transaction_seconds_count")
    assert page.of("kassa_pool_connections", state="most") == [4]
    assert page.sum("kassa_pool_connections", state="lent") <= page.sum("kassa_pool_connections", state="open") <= 4
    assert page.sum("kassa_neighbour_seconds_count", neighbour="payment", outcome="answered") == 2
    assert page.sum("kassa_neighbour_seconds_count", neighbour="payment", outcome="silent") == 1
    assert page.sum("kassa_neighbour_seconds_count", neighbour="payment", outcome="error") >= 1
    assert page.of("kassa_breaker_open", neighbour="payment") in ([0], [1])
    assert page.sum("kassa_event_loop_lag_seconds_count") > 1
    assert page.sum("kassa_log_lines_total", level="warning") >= 1


def test_workers_show_that_they_turn_and_what_the_watch_saw(town: Town) -> None:
    def has_looked(page: Page) -> bool:
        return len(page.of("kassa_invariant_age_seconds")) >= 10

    until(lambda: has_looked(scrape(town.work)))
    page = scrape(town.work)
    assert page.sum("kassa_invariant_breaches") == 0
    assert page.of("kassa_invariant_every_seconds") == [1]
    turning = {(labels["worker"], labels["act"]) for name, labels, _ in page.samples if name == "kassa_worker_every_seconds"}
    assert {("checkouts", "sweep_checkouts"), ("relay", "relay"), ("deliver", "deliver"), ("verify", "watch")} <= turning
    until(lambda: len(scrape(town.work).of("kassa_worker_last_turn_timestamp_seconds")) == len(turning))
    assert page.sum("kassa_worker_turn_seconds_count", act="sweep_checkouts") > 1
    assert scrape(town.serve).of("kassa_worker_last_turn_timestamp_seconds") == []


@pytest.mark.parametrize("process", ["work", "rpc"])
def test_a_process_without_a_surface_answers_about_itself_and_nothing_else(town: Town, process: str) -> None:
    url: str = getattr(town, process)
    with httpx2.Client(base_url=url, trust_env=False) as http:
        assert http.get("/health").status_code == http.get("/ready").status_code == 200
        for path in ("/", "/api/products", "/docs", "/openapi.json", "/office", "/shop", "/sandbox", "/cart"):
            assert http.get(path).status_code == 404, path
        assert http.post("/payme/webhook", json={}).status_code == 404
        assert http.post("/metrics").status_code == 405


@pytest.mark.parametrize("process", ["serve", "work", "rpc"])
def test_others_than_this_machine_show_the_token(town: Town, process: str) -> None:
    elsewhere = {"X-Forwarded-For": "192.0.2.1"}  # a proxy that nobody trusts passed it on
    with httpx2.Client(base_url=getattr(town, process), trust_env=False, headers=elsewhere) as http:
        assert http.get("/metrics").status_code == 401
        assert http.get("/metrics", headers={"Authorization": "Bearer none"}).status_code == 401
        assert http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_line_of_a_charge_without_an_answer_says_whose_it_is(town: Town) -> None:
    [line] = [line for line in town.lines() if line["event"].startswith("a charge was not answered")]
    assert line["request_id"] == REQUEST
    assert line["merchant_id"] == "1"
    assert line["level"] == "warning"
    assert {"checkout_id", "order_id", "payment_id", "way"} <= line.keys()
    until(lambda: any(each.get("request_id") == REQUEST and each["event"] == "request" for each in town.lines()))
    served = [each for each in town.lines() if each.get("request_id") == REQUEST and each["event"] == "request"]
    assert {each["order_id"] for each in served} == {line["order_id"]}
    [declined] = [line for line in town.lines() if line["event"] == "a payment was declined"]
    assert declined["why"] == "refused"
    assert declined["order_id"] != line["order_id"]


def test_nothing_private_is_in_the_log_or_in_the_figures(town: Town) -> None:
    pages = [scrape(url) for url in (town.serve, town.work, town.rpc)]
    named = [text for page in pages for name, labels, _ in page.samples for text in (name, *labels.values())]
    shown = town.log.read_text() + "\n".join(named)
    for private in ("4111111111111111", "411111", "4000000000000002", "@example.com", "Flores", TOKEN, SECRET, rig.JWT_SECRET):
        assert private not in shown

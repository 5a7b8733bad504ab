"""`KASSA_SECRET` is replaced, with real processes: under the old one, under both, sealed anew, under the new one alone. All still works."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest
from tests import rig
from tests.contracts.checkout.journeys import a_key, order_form, until

from kassa.cli.secrets import all_sealed
from kassa.kit.secrets import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartKassa
    from tests.rig import DatabaseServer, Server

OLD, NEW, WRONG = (base64.b64encode(os.urandom(32)).decode() for _ in range(3))
CASHBOX_KEY: Final = "x7%Kassa&Rotate?Only@Key#36$Chars=00"
SELLER: Final = {"X-Merchant-Id": "2"}
HASHES: Final = {
    "idempotency_keys.payload", "api_key_hashes.key_hash", "payments.card_fingerprint", "checkouts.asked", "payments.metadata",
    "audit_heads.hash", "audit_log.hash", "audit_log.previous", "card_watch.key", "notice_recipients.email_key",
    "staff_sessions.token_hash", "staff_tries.key",
}  # fmt: skip
"""Columns of bytes that are not sealed: hashes, and what a caller said over gRPC."""


class Hook(ThreadingHTTPServer):
    """Where a merchant is told; keeps what came."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        heard = self.heard

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.shutdown()
    hook.server_close()


def kassa(shop: Server, *words: str, code: int | None = 0, **settings: str) -> Any:
    """Run a command of an operator beside the shop; what it said as JSON."""
    environment = {**shop.environment, "DATABASE_URL": shop.dsn, **settings}
    done = subprocess.run(
        [sys.executable, "-m", "kassa", *words, "--json"],
        env=environment, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done
    return json.loads(done.stdout)


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a merchant checks it (Standard Webhooks)."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    made = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(made).decode()}" in headers["webhook-signature"].split()


def told(shop: Server, hook: Hook, endpoint: dict[str, Any]) -> bool:
    """Whether a ping that the shop sends now is signed with the endpoint's secret."""
    hook.heard.clear()
    answer = shop.client(headers=SELLER).post(f"/api/v1/webhook-endpoints/{endpoint['endpoint_id']}/test")
    assert answer.status_code == 202, answer.text
    until(lambda: hook.heard, 20, "the ping arrives")
    return is_signed(endpoint["secret"], *hook.heard[0])


def payme_lets_in(shop: Server) -> bool:
    """Whether the seller's cashbox opens for its key; the account in the call is nobody's."""
    basic = base64.b64encode(f"Paycom:{CASHBOX_KEY}".encode()).decode()
    call = {"id": 1, "method": "CheckTransaction", "params": {"id": "0" * 24}}
    answer = shop.client(headers={"Authorization": f"Basic {basic}"}).post("/payme/webhook/42", json=call)
    code: int = answer.json()["error"]["code"]
    assert code in {-31003, -32504}, answer.text
    return code == -31003


def buy(shop: Server, key: str, form: dict[str, Any]) -> httpx2.Response:
    return shop.client(7).post("/checkout/process", json=form, headers={"Idempotency-Key": key})


@pytest.mark.timeout(600)  # four processes after one another, and a dozen commands
def test_a_secret_is_replaced_and_nothing_is_lost(
    start_kassa: StartKassa, database_server: DatabaseServer, hook: Hook, tmp_path: Path
) -> None:
    dsn = database_server.fresh()
    settings: dict[str, Any] = {"database": dsn, "EMAIL_BACKEND": "console"}
    shop = start_kassa(KASSA_SECRET=OLD, **settings)
    url = f"http://127.0.0.1:{hook.server_address[1]}/hook"
    made = shop.client(headers=SELLER).post("/api/v1/webhook-endpoints", json={"url": url, "events": ["*"]})
    assert made.status_code == 201, made.text
    endpoint = made.json()
    key_file = tmp_path / "key"
    key_file.write_text(CASHBOX_KEY)
    kassa(shop, "merchants", "add", "42", "--name", "A Seller", "--email", "s@example.com", "--currency", "UZS")
    kassa(shop, "merchants", "payme", "set", "42", "--id", "650000000000000000000042", "--key-file", str(key_file), "--test")
    key, form = a_key(), order_form()
    first = buy(shop, key, form)
    assert first.status_code == 200, first.text
    assert (told(shop, hook, endpoint), payme_lets_in(shop)) == (True, True)
    shop.stop()

    shop = start_kassa(KASSA_SECRET=NEW, KASSA_SECRET_OLD=OLD, **settings)
    assert (told(shop, hook, endpoint), payme_lets_in(shop)) == (True, True)
    before = kassa(shop, "secrets", "reseal", "--dry-run", code=1)
    under_old = {each["column"]: each["left"] for each in before["columns"]}
    assert min(under_old[name] for name in ("payme_cashboxes.key", "endpoints.secret", "idempotency_keys.answer")) >= 1
    assert under_old["notice_recipients.sealed"] >= 1
    done = kassa(shop, "secrets", "reseal", "--why", "the yearly one")
    assert under_old.pop("sealed_keys.sealed") == 1
    assert {each["column"]: each["resealed"] for each in done["columns"]} == {"sealed_keys.sealed": 0, **under_old}
    assert {each["left"] + each["locked"] for each in done["columns"]} == {0}
    assert (done["old_can_be_dropped"], done["hashed"] >= 1, bool(done["old_until"])) == (False, True, True)
    again = kassa(shop, "secrets", "reseal")
    assert {each["resealed"] for each in again["columns"]} == {0}
    repeat = buy(shop, key, form)
    assert (repeat.content, repeat.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert (told(shop, hook, endpoint), payme_lets_in(shop)) == (True, True)
    (line,) = kassa(shop, "audit", "list", "--act", "secrets")["lines"]
    assert (line["merchant_id"], line["why"]) == ("*", "the yearly one")
    shop.sql("SELECT kassa_move_clock('31 days')")
    assert kassa(shop, "secrets", "reseal")["old_can_be_dropped"] is True
    shop.stop()

    shop = start_kassa(KASSA_SECRET=NEW, **settings)
    assert (told(shop, hook, endpoint), payme_lets_in(shop)) == (True, True)
    assert buy(shop, a_key(), form).status_code == 200
    assert kassa(shop, "audit", "check")["chains"]
    assert kassa(shop, "verify")["breaches"] == []
    for secret in (OLD, WRONG):
        refused(shop, tmp_path, secret)


def refused(shop: Server, home: Path, secret: str) -> None:
    """A process with another secret says so in one line, and does not begin."""
    other = rig.make_server(home / "other", shop.dsn, {"KASSA_SECRET": secret})
    done = subprocess.run(other.command, env=other.environment, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("kassa: ")]
    assert "KASSA_SECRET is not the one that this database was begun with" in line
    act = subprocess.run(
        [sys.executable, "-m", "kassa", "merchants", "suspend", "42", "1"],
        env=other.environment, cwd=home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert act.returncode == 2


def test_every_column_of_bytes_is_sealed_anew_or_is_a_hash(database_server: DatabaseServer) -> None:
    """Whoever adds a sealed column has to say so in `kassa secrets`."""
    rows = rig.query(
        database_server.fresh(),
        "SELECT c.relname || '.' || a.attname AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE a.atttypid = 'bytea'::regtype AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0",
    )
    assert {row["name"] for row in rows} - HASHES == {sealed.name for sealed in all_sealed()} | {"sealed_keys.sealed"}


def test_a_seal_says_which_secret_made_it() -> None:
    old, new = os.urandom(32), os.urandom(32)
    rotating = Keys(new, old)
    assert rotating.sealed_by(Keys(old).seal(b"x", b"about"), b"about") == "old"
    assert rotating.sealed_by(Keys(new).seal(b"x", b"about"), b"about") == "new"
    assert rotating.sealed_by(Keys(old).seal(b"x", b"about"), b"something else") is None
    assert Keys(new).sealed_by(Keys(old).seal(b"x", b"about"), b"about") is None

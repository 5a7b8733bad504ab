"""What must be set before Kassa serves payments for real, and how much one caller may ask (sections 2, 3 and 7)."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests import rig
from tests.rig import Running

from .till import BASE, NO_TLS, NOWHERE, is_well, refusal, rush

if TYPE_CHECKING:
    from tests.conftest import StartKassa

FOR_REAL = {
    "PRODUCTION": "true",
    "SURFACES": "payments",
    "KASSA_SECRET": base64.b64encode(b"thirty-two bytes for production!").decode(),
    "JWT_SECRET": secrets.token_urlsafe(48),
    "APP_HOST": "127.0.0.1",
}
PROVIDER = {"PROVIDER_URL": "http://127.0.0.1:9", "PROVIDER_WEBHOOK_SECRET": rig.WEBHOOK_SECRET}


def run(home: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of Kassa that must end by itself."""
    env = rig.clean_environment(KASSA_HOME=str(home), HTTP_PORT=str(rig.free_port()), GRPC_PORT=str(rig.free_port()), **settings)
    return subprocess.run(
        [sys.executable, "-m", "kassa", *command], env=env, cwd=home, capture_output=True, text=True, timeout=40, check=False
    )


@pytest.mark.parametrize("missing", PROVIDER)
def test_for_real_nothing_starts_without_a_provider(tmp_path: Path, kassa_dsn: str, missing: str) -> None:
    given = {name: text for name, text in PROVIDER.items() if name != missing}
    ended = run(tmp_path, "serve", DATABASE_URL=kassa_dsn, **FOR_REAL, **given)
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0, said
    assert missing in said
    assert "Traceback" not in said


def test_demo_data_is_refused_for_real(tmp_path: Path, kassa_dsn: str) -> None:
    ended = run(tmp_path, "seed", DATABASE_URL=kassa_dsn, **FOR_REAL, **PROVIDER)
    assert ended.returncode != 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_two_databases_that_differ_stop_the_start(tmp_path: Path, kassa_dsn: str) -> None:
    elsewhere = rig.with_database(kassa_dsn, "another")
    ended = run(tmp_path, "dev", DATABASE_URL=kassa_dsn, PAYMENTS_DB_URL=elsewhere)
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0, said
    assert "PAYMENTS_DB_URL" in said
    assert "Traceback" not in said


def test_for_real_there_is_no_sandbox_and_no_demo_key(tmp_path: Path, database_server: rig.DatabaseServer) -> None:
    url = f"http://127.0.0.1:{(port := rig.free_port())}"
    settings = {
        "DATABASE_URL": database_server.fresh(),
        "KASSA_HOME": str(tmp_path),
        "HTTP_PORT": str(port),
        **FOR_REAL,
        **PROVIDER,
    }
    serve = Running([sys.executable, "-m", "kassa", "serve"], rig.clean_environment(**settings), tmp_path, f"{url}/ready")
    serve.start()
    try:
        with httpx2.Client(base_url=url, verify=NO_TLS, trust_env=False) as client:
            refusal(client.get(BASE, headers={"X-Api-Key": "sk_demo_1"}), 401, "invalid_api_key", "Invalid API key")
            refusal(client.get(BASE, headers={"X-Merchant-Id": "1"}), 401, "unauthorized", "Unauthorized")
            refusal(client.get(f"{BASE}/{NOWHERE}/show"), 401, "unauthorized", "Unauthorized")
            assert client.get(f"/sandbox/pay/{NOWHERE}").status_code == 404
            assert client.post(f"/sandbox/payments/{NOWHERE}/accept").status_code in {404, 405}
            assert client.get(f"{BASE}/ping").json() == {"ok": True}
        assert "Traceback" not in serve.log_text()
    finally:
        serve.stop()


def test_who_asks_too_often_is_told_when_to_come_back(start_kassa: StartKassa) -> None:
    """Unlike an exhausted plan; and a provider's reports are never held up (ruling 36)."""
    server = start_kassa(RATE_LIMIT="5/second")
    answers = rush(server, [(BASE, b"{}", {"X-Api-Key": "sk_demo_1"})] * 60)
    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) == {422, 429}
    for answer in answers:
        if answer.status_code == 429:
            refusal(answer, 429, "rate_limited")
            assert int(answer.headers["Retry-After"]) >= 1
    reports = rush(server, [(f"{BASE}/webhook", b"{}", {"X-Internal-Signature": "no"})] * 60)
    assert Counter(answer.status_code for answer in reports) == {403: 60}
    is_well(server)

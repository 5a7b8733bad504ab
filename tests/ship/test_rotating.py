"""Secrets are replaced while the shop is open, by the table of docs/operations.md; that of KASSA_SECRET is tests/flows/test_rotation.py."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import TYPE_CHECKING

import pytest
from tests import rig
from tests.crash import clusters

from kassa.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartKassa

OLD, NEW, OTHER = (f"{word}-is-a-word-that-only-this-test-knows-{'0' * 10}" for word in ("quince", "medlar", "sorrel"))
_HBA = "local all all trust\nhost all {owner} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


def status_of_token(server: rig.Server, secret: str) -> int:
    """How a buyer is received whose token was signed with this."""
    server.secret = secret
    return server.client(7).get("/api/cart").status_code


def status_of_report(server: rig.Server, secret: str) -> int:
    """How a provider's report is received that was signed with this; nobody knows its payment."""
    raw = json.dumps({"payment_id": str(uuid.uuid4()), "status": "finished"}).encode()
    signature = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return server.client().post("/api/v1/payments/webhook", content=raw, headers={"X-Internal-Signature": signature}).status_code


def test_who_signs_tokens_and_reports_may_take_the_new_secret_when_it_likes(start_kassa: StartKassa) -> None:
    server = start_kassa(
        JWT_SECRET=NEW, JWT_SECRET_OLD=OLD, PROVIDER_WEBHOOK_SECRET=NEW, PROVIDER_WEBHOOK_SECRET_OLD=OLD
    )  # fmt: skip
    assert [status_of_token(server, each) for each in (OLD, NEW, OTHER)] == [200, 200, 401]
    assert [status_of_report(server, each) for each in (OLD, NEW, OTHER, "")] == [202, 202, 403, 403]
    for name in ("JWT_SECRET_OLD", "PROVIDER_WEBHOOK_SECRET_OLD"):
        del server.environment[name]
    server.restart()
    assert [status_of_token(server, each) for each in (OLD, NEW)] == [401, 200]
    assert [status_of_report(server, each) for each in (OLD, NEW)] == [403, 202]
    for secret in (OLD, NEW):
        assert secret not in server.log_text()


def test_an_old_secret_that_is_easy_to_guess_opens_no_door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "KASSA_HOME": str(tmp_path),
        "PRODUCTION": "true",
        "JWT_SECRET": "hQ9v-Zt3Xk7mB2wLr8sYpD4fNc6gJa1e",
        "JWT_SECRET_OLD": "changeme",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^JWT_SECRET_OLD is shorter than 32 bytes"):
        Settings.load(False, need=("JWT_SECRET",))


def test_the_databases_password_is_replaced_by_a_second_account(start_kassa: StartKassa) -> None:
    """Two accounts stand for one owner: while one of them gets a new password the processes go over to the other."""
    with clusters.cluster() as server:
        dsn = server.fresh()
        name = dsn.rpartition("/")[2]
        server.ask("CREATE ROLE shop NOLOGIN")
        server.ask(f'ALTER DATABASE "{name}" OWNER TO shop')
        _give_to_shop(dsn)
        for account, password in (("shop_a", "first-word"), ("shop_b", "second-word")):
            server.ask(f"CREATE ROLE {account} LOGIN PASSWORD '{password}' IN ROLE shop")
            server.ask(f"ALTER ROLE {account} SET role = 'shop'")
        (server.data / "pg_hba.conf").write_text(_HBA.format(owner=clusters.ACCOUNT))
        server.ask("SELECT pg_reload_conf()")

        def of(account: str, password: str) -> str:
            return f"postgresql://{account}:{password}@127.0.0.1:{server.port}/{name}"

        first = start_kassa(database=of("shop_a", "first-word"))
        second = start_kassa(database=of("shop_b", "second-word"), KASSA_SECRET=first.kassa_secret)
        assert [buys(each) for each in (first, second)] == [201, 201]
        first.stop()
        server.ask("ALTER ROLE shop_a PASSWORD 'third-word'")
        assert buys(second) == 201
        for password, lets_in in (("first-word", False), ("third-word", True)):
            assert _opens(of("shop_a", password)) is lets_in
        second.stop()
        rig.query(of("shop_b", "second-word"), "CREATE TABLE of_a_later_revision (n integer)")
        owners = rig.query(dsn, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert owners == [{"tableowner": "shop"}], "whoever migrates, the owner is the same"


def _give_to_shop(dsn: str) -> None:
    """Everything in this database becomes the owner's who does not sign in."""
    for row in rig.query(dsn, _OWNED):
        rig.query(dsn, row["sql"])


_OWNED = """
    SELECT format('ALTER %s %s OWNER TO shop', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.oid::regclass) AS sql
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'v') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    UNION ALL
    SELECT format('ALTER SCHEMA %I OWNER TO shop', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL
    SELECT format('ALTER FUNCTION %s OWNER TO shop', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


def _opens(dsn: str) -> bool:
    try:
        return bool(rig.query(dsn, "SELECT true AS yes"))
    except Exception as error:
        assert "password" in str(error)
        return False


def buys(server: rig.Server) -> int:
    """Something is put into a cart, which is a write."""
    return server.client(7).post("/api/cart/items", json={"productId": "507f1f77bcf86cd799439012", "quantity": 1}).status_code

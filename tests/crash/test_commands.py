"""Commands of an operator that die: nothing of it happened, or all of it, and the same command again does no harm."""

from __future__ import annotations

import base64
import signal
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests import rig

from kassa import cases, collect, merchants, staff, webhooks
from kassa.collect import CollectRules, KeyedWish
from kassa.events import FanOut
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.money import Money
from kassa.kit.own_keys import own_key
from kassa.kit.secrets import Keys

from . import judging, points
from .playing import Town

MOMENTS = points.MOMENTS[points.TRANSACTION]
OLD_SECRET, NEW_SECRET = (base64.b64encode(each * 32).decode() for each in (b"x", b"y"))


@dataclass(frozen=True)
class Command:
    """`words` act in a transaction called `name`; `done` is how often its effect is there. `again`: exit codes of the second time,
    after a death before the commit and after one behind it."""

    name: str
    words: tuple[str, ...]
    done: str
    again: tuple[int, int] = (0, 0)
    settings: Mapping[str, str] = field(default_factory=dict)


COMMANDS = (
    Command(
        "merchants.change",
        (
            "merchants",
            "add",
            "42",
            "--name",
            "Corner Shop",
            "--email",
            "o@example.com",
            "--currency",
            "EUR",
            "--plan",
            "1",
            "--key",
        ),
        "SELECT count(*)::int AS n FROM merchants JOIN subscriptions USING (merchant_id) JOIN api_keys USING (merchant_id)"
        " JOIN api_key_hashes USING (merchant_id, key_id) WHERE merchant_id = '42'",
        (0, 2),  # there is one already
    ),
    Command(
        "merchants.route",
        ("merchants", "route", "cards", "--provider", "stripe", "--position", "7"),
        "SELECT count(*)::int AS n FROM routes WHERE alias = 'cards'",
        (0, 2),  # there is one at that place already
    ),
    Command(
        "collect.decide",
        ("payments", "settle", "PAYMENT"),
        "SELECT count(*)::int AS n FROM ledger_entries WHERE kind = 'capture'",
    ),
    Command(
        "reconcile.note",
        ("reconcile", "--provider", "stripe", "STATEMENT"),
        "SELECT count(*)::int AS n FROM cases WHERE kind LIKE 'reconcile%' AND closed_at IS NULL",
        (1, 1),  # there is a difference, both times
    ),
    Command(
        "cases.close",
        ("payments", "close", "CASE", "--reason", "paid by bank transfer"),
        "SELECT count(*)::int AS n FROM cases WHERE decision = 'paid by bank transfer'",
        (0, 2),  # it is closed already
    ),
    Command(
        "catalog.change",
        ("products", "publish", "PRODUCTS"),
        "SELECT count(*)::int AS n FROM products p JOIN stock_levels USING (merchant_id, channel, product_id)"
        " JOIN audit_log a ON a.merchant_id = p.merchant_id AND a.act = 'product.publish' WHERE product_id = 'new_tea'",
    ),
    Command(
        "checkout.forget",
        ("forget", "--user", "BUYER", "--yes"),
        "SELECT count(*)::int AS n FROM checkouts WHERE buyer_id = '4711' AND customer_email IS NULL",
    ),
    Command(
        "secrets.reseal",
        ("secrets", "reseal", "--why", "ROTATION"),
        "SELECT count(*)::int AS n FROM audit_log WHERE act = 'secrets.reseal'",
        settings={"KASSA_SECRET": NEW_SECRET, "KASSA_SECRET_OLD": OLD_SECRET},
    ),
    Command(
        "staff.change",
        ("staff", "disable", "PERSON", "--why", "left the company"),
        "SELECT count(*)::int AS n FROM staff_accounts WHERE disabled_at IS NOT NULL",
    ),
    Command(
        "webhooks.callback",
        ("merchants", "callback-secret"),
        "SELECT count(*)::int AS n FROM endpoints WHERE hidden AND merchant_id = '1'",
        settings={"MERCHANT_CALLBACK_URL": "http://127.0.0.1:9/hook"},
    ),
    Command(
        "webhooks.switch",
        ("merchants", "endpoints", "disable", "1", "ENDPOINT"),
        "SELECT count(*)::int AS n FROM endpoints WHERE disabled_reason = 'manual'",
    ),
    Command(
        "webhooks.replay",
        ("events", "replay", "DEAD LETTER"),
        "SELECT count(*)::int AS n FROM deliveries WHERE status = 'pending' AND replayed",
    ),
    Command(
        "payme.cashbox",
        ("merchants", "payme", "set", "SELLER", "--id", "650000000000000000000042", "--key-file", "KEY", "--test"),
        "SELECT count(*)::int AS n FROM payme_cashboxes WHERE cashbox_id = '650000000000000000000042'",
    ),
)


def waiting_payment(dsn: str) -> str:
    """A payment by key that waits for an operator."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            ctx = Context(db, Keys(b"x" * 32), ports={CollectRules: CollectRules()})
            made = await collect.request_by_key(ctx, KeyedWish("1", Money(1250, "USD"), "o-1", "key-00001", {"simulate": "wait"}))
        finally:
            await db.close()
        return str(made.payment_id)

    return rig.run_alone(make)


def statement(home: Path) -> str:
    """A provider's statement with a charge that we know nothing of."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "statement.csv"
    file.write_text(
        "payment_id,kind,amount,currency,occurred_at\n"
        "019b76da-a801-7d90-a2b6-4c7f1e3d5b62,charge,10.00,USD,2026-01-02T10:00:00Z\n"
    )  # fmt: skip
    return str(file)


def begun_under_the_old_secret(dsn: str) -> str:
    """An installation that was begun under another secret than the command has."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            await own_key(db, Keys(b"x" * 32))
        finally:
            await db.close()
        return "the yearly one"

    return rig.run_alone(make)


def open_case(dsn: str) -> str:
    """A case that somebody has to decide."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            await cases.open_case(db, "1", "amount_mismatch", "payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b62")
            (case,) = await cases.find_cases(db)
        finally:
            await db.close()
        return str(case.case_id)

    return rig.run_alone(make)


def refused_buyer(dsn: str) -> str:
    """A buyer of whom nothing is left but a refused purchase with an e-mail address."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            await db.execute(
                "INSERT INTO checkouts (merchant_id, checkout_id, channel, surface, buyer_id, status, method, acts, currency,"
                " customer_email, error, created_at, updated_at, ended_at) VALUES ('1', gen_random_uuid(), 'shop', 'checkout', '4711',"
                " 'undone', 'credit_card', '{}', 'INR', 'b@example.com', 'Payment declined', kassa_now(), kassa_now(), kassa_now())"
            )
        finally:
            await db.close()
        return "4711"

    return rig.run_alone(make)


def endpoint(dsn: str) -> str:
    """An endpoint of merchant 1 that wants everything."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            async with db.transaction("endpoint") as tx:
                wish = webhooks.Wish("http://127.0.0.1:9/hook", ("*",))
                made, _ = await webhooks.add_endpoint(tx, Keys(b"x" * 32), "1", wish)
        finally:
            await db.close()
        return str(made.endpoint_id)

    return rig.run_alone(make)


def dead_letter(dsn: str) -> str:
    """A delivery that was given up."""
    endpoint_id = uuid.UUID(endpoint(dsn))

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        db.ports[FanOut] = FanOut((webhooks.DELIVERY_MADE,))
        try:
            _, delivery_id = await webhooks.send_test(Context(db, Keys(b"x" * 32)), "1", endpoint_id)
            await db.execute("UPDATE deliveries SET status = 'failed', next_at = NULL, ended_at = kassa_now()")
        finally:
            await db.close()
        return str(delivery_id)

    return rig.run_alone(make)


def seller(dsn: str) -> str:
    """A merchant who asks for payments in the currency that Payme takes."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            async with db.transaction("seller") as tx:
                await merchants.add_merchant(tx, "42", "A Seller", None, "UZS")
        finally:
            await db.close()
        return "42"

    return rig.run_alone(make)


def person(dsn: str) -> str:
    """An account of the back office."""

    async def make() -> str:
        db = await Database.connect(dsn, size=2)
        try:
            async with db.transaction("person") as tx:
                await staff.add_account(tx, None, "1", "pavel", "pavel@example.com", "staff", "no password")
        finally:
            await db.close()
        return "pavel"

    return rig.run_alone(make)


def key_file(home: Path) -> str:
    """A file with the key of a cashbox."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "cashbox.key"
    file.write_text("x7%Kassa&Crash?Only@Key#36$Chars=000\n")
    return str(file)


def product_file(home: Path) -> str:
    """A product that is new, and one that gets another price."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "products.csv"
    file.write_text("product_id,name,price,stock\nnew_tea,Tea,4.99,120\nprod_001,Wireless Mouse,89.90,5000\n")
    return str(file)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_a_command_that_dies_did_all_of_it_or_nothing(open_town: Callable[..., Town], command: Command, moment: str) -> None:
    town = open_town()
    town.settings |= command.settings
    known = {
        "PAYMENT": lambda: waiting_payment(town.dsn),
        "STATEMENT": lambda: statement(town.home),
        "ENDPOINT": lambda: endpoint(town.dsn),
        "DEAD LETTER": lambda: dead_letter(town.dsn),
        "SELLER": lambda: seller(town.dsn),
        "CASE": lambda: open_case(town.dsn),
        "BUYER": lambda: refused_buyer(town.dsn),
        "ROTATION": lambda: begun_under_the_old_secret(town.dsn),
        "PERSON": lambda: person(town.dsn),
        "KEY": lambda: key_file(town.home),
        "PRODUCTS": lambda: product_file(town.home),
    }
    words = [known[word]() if word in known else word for word in command.words]
    assert town.runs(*words, crash_at=f"{command.name}:{moment}") == -signal.SIGKILL
    happened = moment == "after_commit"
    assert town.ask(command.done)[0]["n"] == int(happened)
    assert town.runs(*words) == command.again[happened]
    assert town.ask(command.done)[0]["n"] == 1
    assert judging.breaches(town.dsn, None) == []


def test_every_name_that_only_commands_reach_is_killed_here() -> None:
    told = {name for name, why in points.NOT_BY_A_STORY.items() if "test_commands.py" in why}
    assert told <= {command.name for command in COMMANDS}

"""What a provider reports comes early, many times, in no order, wrong or forged (F09 to F13)."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tests.crash.asking import Ask, Said, speak
from tests.crash.at_payme import CASHBOX, calls
from tests.crash.fault import RACES, fault
from tests.crash.field import Field, Run
from tests.crash.hasty import Hasty
from tests.crash.merchants import KEY
from tests.crash.playing import WEBHOOK_SECRET
from tests.crash.till import SECRET, Till, move_clock, open_till, wait_until

WEBHOOK = "/api/v1/payments/webhook"


def report(payment: str, status: str = "finished", **more: Any) -> Ask:
    """A report of the provider, rightly signed."""
    return Ask("POST", WEBHOOK, {"payment_id": payment, "status": status, **more}, signed=True, good=(202,))


def requested(till: Till, price: str = "100.00", alias: str = "stripe") -> str:
    """A payment that a merchant's server asked for; its id."""
    key = till.field.buyer().key("ask")
    body = {"order_id": f"M-{key}", "amount": 2, "price": price, "alias": alias}
    said = till.asks(Ask("POST", "/api/v1/payments", body, key, api_key=KEY))
    assert said.status == 200, said.raw
    payment: str = said.json["payment_id"]
    return payment


def shown(till: Till, payment: str) -> dict[str, Any]:
    """The payment as its merchant sees it."""
    found: dict[str, Any] = till.asks(Ask("GET", f"/api/v1/payments/{payment}/show", api_key=KEY)).json
    return found


def message(said: Said) -> str:
    """What became of a report."""
    text: str = said.json["result"]["message"]
    return text


def at_the_provider(till: Till, payment: str) -> None:
    """The buyer pays at the provider, whose own report is kept for the scenario to send: its book has the charge."""
    (link,) = [each for each in till.provider.book(only="links")["links"] if each["payment_id"] == payment]
    till.pay(link["payment_url"])


@fault(
    "F09",
    "The webhook comes before, during and after the answer",
    holds="3 6",
    passes="one order each, none is stuck",
    runs=RACES,
)
def webhook_beside_the_answer(field: Field) -> None:
    """The report is sent 50 ms before the link is answered, at the same moment, or 50 ms after it; for orders and merchants' payments."""
    apart = {}

    def apart_s(payment: str) -> float:
        return apart.setdefault(payment, (-0.05, 0.0, 0.05)[len(apart) % 3])

    hasty: Hasty = field.keep(Hasty(WEBHOOK_SECRET, apart_s))
    town = field.town(PROVIDER_URL=hasty.url, PROVIDER_WEBHOOK_SECRET=WEBHOOK_SECRET, KASSA_SECRET=SECRET, DATABASE_POOL_SIZE=8)
    till = Till(field, town, town.born("dev"))
    hasty.merchant_url = till.server.url

    def one(run: Run) -> None:
        if run.number % 4 == 3:
            requested(till)
        else:
            till.order_by_link(field.buyer())

    field.each(one, at_once=8)
    hasty.done()
    wait_until(lambda: not till.server.sql("SELECT 1 FROM payments WHERE status <> 'paid' LIMIT 1"), None, "all are paid")
    rows = till.server.sql(
        "SELECT count(*)::int AS payments, count(*) FILTER (WHERE status = 'paid')::int AS paid,"
        " (SELECT count(*)::int FROM orders WHERE status = 'paid') AS orders,"
        " (SELECT count(*)::int FROM ledger_entries) AS entries FROM payments"
    )
    orders = sum(number % 4 != 3 for number in range(field.runs))
    wanted = {"payments": field.runs, "paid": field.runs, "orders": orders, "entries": field.runs}
    field.check(rows == [wanted], f"there are {rows}, wanted {wanted}")
    field.check(hasty.told.total() == field.runs, f"reports were answered {hasty.told}")
    field.check(set(hasty.told) <= {"200 payment updated"}, f"reports were answered {hasty.told}")
    early = sum(reported < answered for reported, answered in hasty.at.values())
    field.measure("reported before the answer", f"{early} of {field.runs}")
    town.sandbox = hasty  # type: ignore[assignment]
    till.judge()


@fault(
    "F10",
    "A hundred duplicates of one webhook at once",
    holds="3 7",
    passes="one effect, a hundred times 2xx",
    quick=2,
)
def hundred_webhooks_at_once(field: Field) -> None:
    till = open_till(field, "link")
    many = 100
    pool = field.keep(ThreadPoolExecutor(many))

    def one(run: Run) -> None:
        if run.number % 2:
            payment = requested(till)
        else:
            buyer = field.buyer()
            till.link(buyer, till.order_by_link(buyer))
            payment = str(till.row(buyer)["payment_id"])
        gate = threading.Barrier(many)

        def tell() -> Said:
            gate.wait(30)
            return speak(till.server, report(payment))

        answers = [told.result() for told in [pool.submit(tell) for _ in range(many)]]
        run.check(Counter(each.status for each in answers) == {200: many}, f"answers {Counter(each.status for each in answers)}")
        told = Counter(message(each) for each in answers)
        run.check(told == {"payment updated": 1, "already processed": many - 1}, f"told {told}")
        entries = till.server.sql("SELECT kind FROM ledger_entries WHERE payment_id = $1::text::uuid", payment)
        run.check(entries == [{"kind": "capture"}], f"booked {entries}")
        at_the_provider(till, payment)

    field.each(one)
    till.judge()


WORDS = ("pending", "processing", "failed", "declined", "finished")


@fault("F11", "Reports out of order", holds="2 6", passes="the same end for all, whatever came first", runs=60)
def reports_out_of_order(field: Field) -> None:
    """Every order of five words about a payment; then a refund whose words come in any order, too, one of them before its answer."""
    till = open_till(field, "link")
    orders = list(itertools.permutations(WORDS))
    field.chance.shuffle(orders)
    till.provider.default("link", "refund", "book_then_500")

    def one(run: Run) -> None:
        payment = requested(till)
        for word in orders[run.number % len(orders)]:
            run.check(till.asks(report(payment, word)).status == 200, f"{word} was not taken")
        end = shown(till, payment)
        at_the_provider(till, payment)
        run.check((end["status"], end["captured"]) == (2, "100.00"), f"after {orders[run.number % len(orders)]}: {end}")
        body = {"amount": "30.00", "reason": "damaged"}
        said = till.asks(Ask("POST", f"/api/v1/payments/{payment}/refunds", body, field.buyer().key("back"), api_key=KEY))
        words = [("finished", {}), ("failed", {}), ("refunded", {"refund_id": said.json["refund_id"]}), ("pending", {})]
        run.chance.shuffle(words)
        for word, more in [*words, *words[:2]]:
            till.asks(report(payment, word, **more))
        end = shown(till, payment)
        run.check((end["status"], end["captured"], end["refunded"]) == (2, "100.00", "30.00"), f"after {words}: {end}")

    field.each(one, at_once=4)
    till.judge()


@fault(
    "F12",
    "Rightly signed, with a wrong sum, currency or payment",
    holds="2 9",
    passes="nothing is completed, and a case is opened",
    runs=40,
)
def signed_and_wrong(field: Field) -> None:
    till = open_till(field)
    buyer = field.buyer()
    till.asks(buyer.buys(signed_in=True))
    of_a_card = str(till.row(buyer)["payment_id"])
    wrong: tuple[dict[str, Any], ...] = (
        {"price": "99.99"}, {"price": "100.01"}, {"price": "10000"}, {"price": "1e2000"}, {"price": "1.00", "currency": "USD"},
        {"currency": "EUR"}, {"currency": "usd"}, {"price": "100.00", "currency": "INR"},
    )  # fmt: skip
    nobodys: list[str] = []

    def one(run: Run) -> None:
        place = run.number % (len(wrong) + 2)
        if place == len(wrong):
            said, subject, word = till.asks(report(of_a_card)), of_a_card, "other provider"
        elif place == len(wrong) + 1:
            nobodys.append(str(uuid.UUID(int=0x019B76DAA8017D90A2B600000000 << 16 | run.number)))
            said = till.asks(report(nobodys[-1]))
            run.check(said.status == 202, f"answered {said.status}")
            return
        else:
            subject, word = requested(till), "amount mismatch"
            said = till.asks(report(subject, **wrong[place]))
            run.check(shown(till, subject)["captured"] == "0.00", "it was completed")
        run.check(message(said) == word, f"told {said.raw!r}")
        cases = till.server.sql("SELECT kind FROM cases WHERE subject = $1 AND closed_at IS NULL", f"payment:{subject}")
        run.check(len(cases) == 1, f"cases: {cases}")
        if word == "amount mismatch":
            at_the_provider(till, subject)
            run.check(till.asks(report(subject, price="100.00")).status == 200, "what is right was not taken")
            run.check(shown(till, subject)["status"] == 2, "what is right did not complete it")

    field.each(one, at_once=4)
    move_clock(till.server, 73 * 3600)
    wait_until(
        lambda: len(till.server.sql("SELECT 1 FROM cases WHERE kind = 'report_unmatched'")) == len(nobodys), None, "a case for each"
    )
    till.judge()


def forgeries(raw: bytes, secret: str, chance: Any) -> list[str | None]:
    """Signatures that are none."""
    right = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    turned = chance.randrange(64)
    return [
        None, "", right.upper(), right[:-1], right + "0", "sha256=" + right, f'"{right}"', f"{right} {right}", "0" * 64, "a" * 5000,
        right[:turned] + ("0" if right[turned] != "0" else "1") + right[turned + 1 :],
        hmac.new(b"somebody else's", raw, hashlib.sha256).hexdigest(),
        hmac.new(b"", raw, hashlib.sha256).hexdigest(),
        hmac.new(secret.encode(), raw + b" ", hashlib.sha256).hexdigest(),
        hmac.new(secret.encode(), raw, hashlib.sha512).hexdigest()[:64],
        hashlib.sha256(secret.encode() + raw).hexdigest(),
        hmac.new(secret.encode(), raw, hashlib.md5).hexdigest(),
    ]  # fmt: skip


CASHBOX_LOGINS = (
    "Paycom:wrong",
    "Paycom:",
    "paycom:{key}",
    "Payme:{key}",
    "Paycom:{key} ",
    "Paycom:{half}",
    ":{key}",
    "Paycom{key}",
    "",
)


@fault("F13", "Forged, stale or replayed webhooks", holds="3", passes="none is accepted, none has an effect", runs=40)
def forged_and_replayed(field: Field) -> None:
    """Every forgery, for a payment that waits; then what was right once is said again, to a payment that has gone on since."""
    till = open_till(field, "link", **CASHBOX)
    accepted, asked = 0, 0

    def one(run: Run) -> None:
        nonlocal accepted, asked
        payment = requested(till)
        raw = json.dumps({"payment_id": payment, "status": "finished"}).encode()
        for signature in forgeries(raw, till.server.webhook_secret, run.chance):
            headers = () if signature is None else (("X-Internal-Signature", signature),)
            answer = speak(till.server, replace(report(payment), signed=False, headers=headers)).status
            asked += 1
            accepted += answer != 403
            run.check(answer == 403, f"{signature!r:.80} was answered {answer}")
        for login in CASHBOX_LOGINS:
            shown_login = login.format(key=CASHBOX["PAYME_KEY"], half=CASHBOX["PAYME_KEY"][:18])
            said = speak(
                till.server, replace(calls("PerformTransaction", id="66f0a1b2c3d4e5f600000000"), cashbox=shown_login or None)
            )
            asked += 1
            refused = b'"code":-32504' in said.raw
            accepted += not refused
            run.check(refused, f"Payme with {shown_login!r} was answered {said.raw!r}")
        run.check(shown(till, payment)["status"] == 1, "a forged report had an effect")
        genuine = [report(payment, "failed"), report(payment)]
        for each in genuine:
            till.asks(each)
        at_the_provider(till, payment)
        before = effects(till, payment)
        for each in [*genuine, *genuine][:: run.chance.choice((1, -1))]:
            run.check(message(till.asks(each)) == "already processed", "a replay had an effect")
        run.check(effects(till, payment) == before, f"replays made {before} into {effects(till, payment)}")

    field.each(one, at_once=4)
    field.measure("accepted", f"{accepted} of {asked}")
    till.judge()


def effects(till: Till, payment: str) -> list[dict[str, Any]]:
    """What a payment has come to: status, sums, entries and events."""
    return till.server.sql(
        "SELECT status, captured_minor, refunded_minor, (SELECT count(*)::int FROM ledger_entries e WHERE e.payment_id = p.payment_id) AS entries,"
        " (SELECT count(*)::int FROM events WHERE subject = 'payment:' || p.payment_id) AS events"
        " FROM payments p WHERE payment_id = $1::text::uuid", payment,
    )  # fmt: skip

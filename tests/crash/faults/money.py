"""Retries that come too late, refunds that race, and currencies without two decimals (F17 to F19)."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from tests import rig
from tests.crash import judging
from tests.crash.asking import Ask, Said, speak
from tests.crash.fault import fault
from tests.crash.faults.webhooks_in import at_the_provider, report, requested, shown
from tests.crash.field import Field, Run
from tests.crash.merchants import KEY
from tests.crash.till import Till, open_till, wait_until

from kassa import merchants
from kassa.kit.database import Database
from kassa.kit.money import exponent, fixed_text
from kassa.merchants.model import SCOPES

A_DAY_AND_MORE_S = 25 * 3600


@fault(
    "F17",
    "A retry later than the provider's idempotency window",
    holds="9",
    passes="only questions; nothing is sent again",
)
def retry_after_the_window(field: Field) -> None:
    """Charges that were booked, or lost, and not answered; all processes are gone for 25 hours; then the service answers again."""
    till = open_till(field)
    till.provider.default("payment", "by_key", "garbage", form="html")  # an answer that tells nothing
    with ThreadPoolExecutor(4) as pool:
        behaviours = [("book_then_cut", "cut")[number % 2] for number in range(field.runs)]
        buyers = list(pool.map(lambda each: till.silence(field.buyer(), each), behaviours))
    till.server.kill()
    before = sent(till)
    rig.query(till.town.dsn, "SELECT kassa_move_clock(make_interval(secs => $1))", float(A_DAY_AND_MORE_S))
    till.provider.desk("DELETE", "/defaults/payment")
    till.server.start()

    def one(run: Run) -> None:
        row = till.row(buyers[run.number])
        # Money that came goes back if the stock was let go first, and buys if the answer came first: nobody was there for a day.
        wanted = ({"refunded", "paid"}, {"declined"})[run.number % 2]
        wait_until(lambda: till.row(buyers[run.number])["status"] in wanted, run, f"it is {' or '.join(sorted(wanted))}", 60)
        key = f"{row['checkout_id']}:payment"
        run.check(sent(till)[key] == before[key] == 1, f"sent {before[key]} times before and {sent(till)[key]} times in all")

    field.each(one, at_once=4)
    field.measure("sent again", sum((sent(till) - before).values()))
    till.judge()


def sent(till: Till) -> Counter[str]:
    """How often each charge was sent, by its key."""
    return Counter(call["key"] for call in till.provider.book(only="calls")["calls"] if call["act"] == "process")


@fault("F18", "Two refunds race over the captured amount", holds="2", passes="the sum never exceeds what was captured", runs=20)
def refunds_race(field: Field) -> None:
    """Fifty clients at once ask for parts of one payment, or for all of it."""
    till = open_till(field, "link")
    many = 50
    pool = field.keep(ThreadPoolExecutor(many))

    def one(run: Run) -> None:
        payment = requested(till)
        at_the_provider(till, payment)
        wait_until(lambda: shown(till, payment)["status"] == 2, run, "paid")
        amounts = [f"{run.chance.randrange(1, 6000) / 100:.2f}" for _ in range(many)]
        gate = threading.Barrier(many)

        def give_back(place: int) -> Said:
            body = {"reason": "race"} if place % 10 == 9 else {"amount": amounts[place], "reason": "race"}
            ask = Ask("POST", f"/api/v1/payments/{payment}/refunds", body, f"race-{payment}-{place}", api_key=KEY)
            gate.wait(30)
            return speak(till.server, ask, 30)

        answers = [each.result() for each in [pool.submit(give_back, place) for place in range(many)]]
        run.check({each.status for each in answers} <= {201, 400, 409}, f"answers {Counter(each.status for each in answers)}")
        given = sum((Decimal(each.json["amount"]) for each in answers if each.status == 201), Decimal(0))
        wait_until(lambda: not till.server.sql("SELECT 1 FROM refunds WHERE status = 'pending'"), run, "all refunds are over")
        end = shown(till, payment)
        run.check(Decimal(end["refunded"]) == given <= Decimal("100.00"), f"given {given}, shown {end['refunded']}")

    field.each(one)
    till.judge()


CURRENCIES = ("JPY", "KRW", "UZS", "USD", "KWD", "BHD", "TND", "CLF")


@fault("F19", "Currencies with no, three or four decimals, and tiyin", holds="2", passes="exact, to the last digit", runs=80)
def odd_currencies(field: Field) -> None:
    """Any sum in any currency: asked for, told to the provider, paid, given back in two parts. And the properties of money itself."""
    till = open_till(field, "link")
    keys = {currency: f"sk_{currency.lower()}_crash" for currency in CURRENCIES}
    rig.run_alone(lambda: _open_accounts(till.town.dsn, keys))

    def one(run: Run) -> None:
        currency = CURRENCIES[run.number % len(CURRENCIES)]
        decimals = exponent(currency)
        minor = run.chance.choice((run.chance.randrange(2, 10**3), run.chance.randrange(2, 10**9)))
        price = fixed_text(minor, currency)
        run.check(len(price.partition(".")[2]) == decimals, f"{price} {currency} has not {decimals} decimals")
        payment, seller = requested_in(till, keys[currency], price)
        told = next(each for each in till.provider.book(only="links")["links"] if each["payment_id"] == payment)
        run.check((str(told["price"]), told["currency"]) == (price, currency), f"the provider was told {told}")
        at_the_provider(till, payment)
        said = till.asks(report(payment, price=price, currency=currency))
        run.check(said.status == 200, f"the exact sum was answered {said.raw!r}")
        wait_until(lambda: seller()["status"] == 2, run, "paid")
        part = run.chance.randrange(1, minor)
        for place, amount in enumerate((fixed_text(part, currency), None)):
            body = {"reason": "part"} | ({"amount": amount} if amount else {})
            ask = Ask("POST", f"/api/v1/payments/{payment}/refunds", body, f"part-{place}-{payment}", api_key=keys[currency])
            back = till.asks(ask)
            run.check(back.status == 201, f"{amount} was answered {back.raw!r}")
            wanted = fixed_text(part if amount else minor - part, currency)
            run.check(back.json["amount"] == wanted, f"{back.json['amount']} instead of {wanted}")
        wait_until(lambda: seller()["status"] == 6, run, "given back")
        sums = till.server.sql(
            "SELECT captured_minor AS c, refunded_minor AS r, amount_minor AS a FROM payments WHERE payment_id = $1::text::uuid",
            payment,
        )
        run.check(sums == [{"c": minor, "r": minor, "a": minor}], f"{minor} became {sums}")
        run.check(seller()["captured"] == price, f"{price} is shown as {seller()['captured']}")

    field.each(one, at_once=4)
    wrong = [row for row in till.provider.summary()["keys"] if Decimal(row["net"]) != 0 or row["charges"] != 1]
    field.check(not wrong, f"the provider's book: {wrong[:3]}")
    field.rest(till.server)
    field.result.wrong += judging.breaches(till.town.dsn, till.town.sandbox)
    field.tests("tests/unit/kit/test_money.py", "tests/unit/ledger")


def requested_in(till: Till, key: str, price: str) -> tuple[str, Any]:
    """A payment of a merchant with this key, and a look at it."""
    name = till.field.buyer().key("ask")
    body = {"order_id": f"M-{name}", "amount": 1, "price": price, "alias": "stripe"}
    said = till.asks(Ask("POST", "/api/v1/payments", body, name, api_key=key))
    assert said.status == 200, said.raw
    payment: str = said.json["payment_id"]
    return payment, lambda: till.asks(Ask("GET", f"/api/v1/payments/{payment}/show", api_key=key)).json


async def _open_accounts(dsn: str, keys: dict[str, str]) -> None:
    db = await Database.connect(dsn, size=2)
    try:
        async with db.transaction("accounts") as tx:
            for number, (currency, secret) in enumerate(keys.items()):
                merchant_id = str(5000 + number)
                await merchants.add_merchant(tx, merchant_id, f"A Merchant of {currency}", None, currency)
                await merchants.subscribe(tx, merchant_id, "1")
                await merchants.issue_key(tx, merchant_id, "all", SCOPES, secret=secret)
    finally:
        await db.close()

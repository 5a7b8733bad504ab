"""The provider's book and ours do not agree (F15, F20)."""

from __future__ import annotations

import csv
import json
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests import rig
from tests.crash import judging
from tests.crash.asking import Ask
from tests.crash.fault import fault
from tests.crash.faults.webhooks_in import at_the_provider, requested, shown
from tests.crash.field import Field, Run
from tests.crash.merchants import KEY
from tests.crash.playing import Town
from tests.crash.till import Till, move_clock, open_till, wait_until


def reconcile(town: Town, *words: str) -> tuple[int, dict[str, Any]]:
    """`kassa reconcile`: its exit code, and what it said."""
    log = town.home / "operator" / "output.log"
    before = log.stat().st_size if log.exists() else 0
    code = town.runs("reconcile", *words, "--json")
    said = log.read_bytes()[before:].decode()
    found: dict[str, Any] = json.loads(said[said.index("{") : said.rindex("}") + 1])
    return code, found


def paid_link(till: Till) -> str:
    """A merchant's payment that its buyer paid."""
    payment = requested(till)
    at_the_provider(till, payment)
    wait_until(lambda: shown(till, payment)["status"] == 2, None, "paid")
    return payment


def gives_back(till: Till, payment: str, amount: str) -> str:
    """A part of it goes back; the id of the refund."""
    ask = Ask("POST", f"/api/v1/payments/{payment}/refunds", {"amount": amount}, till.field.buyer().key("back"), api_key=KEY)
    said = till.asks(ask)
    assert (said.status, said.json["status"]) == (201, "succeeded"), said.raw
    refund: str = said.json["refund_id"]
    return refund


@fault(
    "F15",
    "The provider has charges that we do not know: the database was restored",
    holds="9",
    passes="every one of them is a case",
)
def charges_that_we_forgot(field: Field) -> None:
    """A copy is taken, people go on buying and getting money back, and then the copy is all there is."""
    till = open_till(field)
    town = till.town
    kept = [paid_link(till) for _ in range(4)]
    till.calm()
    till.server.kill()
    copy = copy_of(field, town.dsn)
    till.server.start()
    forgotten: list[str] = []
    for number in range(field.runs):
        if number % 4 == 3:
            gives_back(till, kept[number // 4 % len(kept)], "1.00")
            forgotten.append(f"payment:{kept[number // 4 % len(kept)]}")
        elif number % 2:
            forgotten.append(f"payment:{paid_link(till)}")
        else:
            buyer = field.buyer()
            assert till.asks(buyer.buys()).status == 200
            forgotten.append(f"reference:{till.row(buyer)['checkout_id']}:payment")
    till.server.kill()
    clean, _ = reconcile(town, "--provider", "sandbox", "--book", str(town.home / "sandbox" / "book.db"))
    field.check(clean == 0, "the books differed before")
    town.dsn = till.server.dsn = copy
    code, said = reconcile(town, "--provider", "sandbox", "--book", str(town.home / "sandbox" / "book.db"))
    cases = rig.query(copy, "SELECT kind, subject FROM cases WHERE closed_at IS NULL")
    listed = {(row["kind"], row["subject"]) for row in cases}

    def one(run: Run) -> None:
        kind = "reconcile_refund_missing_here" if run.number % 4 == 3 else "reconcile_missing_here"
        run.check((kind, forgotten[run.number]) in listed, f"{kind} of {forgotten[run.number]} is not listed")

    field.each(one)
    field.check((code, said["differences"]) == (1, field.runs), f"exit code {code}, {said['types']}")
    field.measure("recorded", f"{len(cases)} of {field.runs}")
    field.result.wrong += judging.breaches(copy, None)


def copy_of(field: Field, dsn: str) -> str:
    """A copy of a database that nobody is connected to, as a restored backup would be."""
    name = dsn.partition("?")[0].rpartition("/")[2]
    made = f"{field.database.prefix}_copy_{uuid.uuid4().hex[:8]}"
    rig.query(field.database.dsn, f'CREATE DATABASE "{made}" TEMPLATE "{name}"')
    field.database.made.append(made)
    return rig.with_database(field.database.dsn, made)


Rows = list[dict[str, str]]
EDITS = (
    "missing_there", "missing_here", "amount_differs", "currency_differs", "status_differs", "duplicate_row",
    "refund_missing_there", "refund_missing_here", "refund_amount_differs", "",
)  # fmt: skip
"""What is done to the rows of one payment; the last is nothing."""


@fault(
    "F20",
    "A statement with rows that are missing, too many, or other",
    holds="9",
    passes="every break is found, with its type",
    runs=60,
)
def edited_statement(field: Field) -> None:
    """One statement over many payments with a refund each; the rows of nearly every payment are edited in one way."""
    till = open_till(field, "link", PAYMENT_LINK_TTL_S=600)
    rows: Rows = []
    wanted: dict[int, tuple[str, str]] = {}
    edits = [EDITS[number % len(EDITS)] for number in range(field.runs)]

    def make(run: Run) -> None:
        edit = edits[run.number]
        payment = requested(till) if edit == "status_differs" else paid_link(till)
        refund = "" if edit == "status_differs" else gives_back(till, payment, "30.00")
        rows.extend(edited(run, edit, payment, refund, wanted))

    field.each(make, at_once=4)
    field.result.runs = 0
    move_clock(till.server, 3600)
    (period,) = till.server.sql(
        "SELECT to_char(min(created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since,"
        " to_char(kassa_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS until,"
        " to_char(kassa_now() AT TIME ZONE 'UTC' - interval '59 min', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at FROM payments"
    )
    wait_until(lambda: not till.server.sql("SELECT 1 FROM payments WHERE status = 'waiting'"), None, "unpaid links are over")
    file = field.home / "statement.csv"
    write(file, [{**row, "occurred_at": period["at"]} for row in rows], field)
    words = ("--provider", "stripe", str(file), "--since", period["since"], "--until", period["until"])
    code, said = reconcile(till.town, *words)
    found: dict[str, list[str]] = defaultdict(list)
    for row in till.server.sql("SELECT kind, subject FROM cases WHERE closed_at IS NULL"):
        found[row["subject"]].append(row["kind"].removeprefix("reconcile_"))

    def one(run: Run) -> None:
        subject, type_ = wanted[run.number]
        run.check(found.get(subject, []) == ([type_] if type_ else []), f"{subject}: found {found.get(subject)}, wanted {type_!r}")

    field.each(one)
    breaks = sum(bool(edit) for edit in edits)
    field.check((code, said["differences"]) == (1, breaks), f"exit code {code}, {said['types']} of {breaks} breaks")
    again = reconcile(till.town, *words)[1]
    field.check(again["cases_opened"] == 0, f"the second look opened {again['cases_opened']} cases")
    field.measure("breaks found", f"{said['differences']} of {breaks}")
    till.judge()


def edited(run: Run, edit: str, payment: str, refund: str, wanted: dict[int, tuple[str, str]]) -> Rows:
    """The rows of one payment as the statement has them; notes what must be found about which subject."""
    charge = {"kind": "charge", "payment_id": payment, "refund_id": "", "amount": "100.00", "currency": "USD"}
    back = {"kind": "refund", "payment_id": payment, "refund_id": refund, "amount": "30.00", "currency": "USD"}
    wanted[run.number] = f"payment:{payment}", edit
    other = run.chance.choice(("99.99", "100.01", "1.00", "10000.00"))
    match edit:
        case "missing_there":
            return [back]
        case "missing_here":
            nobody = str(uuid.UUID(int=run.chance.getrandbits(128), version=4))
            wanted[run.number] = f"payment:{nobody}", edit
            return [charge, back, {**charge, "payment_id": nobody}]
        case "amount_differs":
            return [{**charge, "amount": other}, back]
        case "currency_differs":
            return [{**charge, "currency": "EUR"}, back]
        case "status_differs":
            return [charge]
        case "duplicate_row":
            return [charge, charge, back]
        case "refund_missing_there":
            return [charge]
        case "refund_missing_here":
            return [
                charge,
                back,
                {**back, "refund_id": str(uuid.UUID(int=run.chance.getrandbits(128), version=4)), "amount": "5.00"},
            ]
        case "refund_amount_differs":
            return [charge, {**back, "amount": "30.01"}]
        case _:
            return [charge, back]


def write(file: Path, rows: Rows, field: Field) -> None:
    """The statement, its rows in any order."""
    field.chance.shuffle(rows)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["kind", "payment_id", "refund_id", "amount", "currency", "occurred_at"])
        writer.writeheader()
        writer.writerows(rows)

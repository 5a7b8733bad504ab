"""Guards that are broken on purpose: each must make a scenario fail, or nobody would notice if it broke by mistake.

A mutant is a copy of the source in which one guard is gone. The processes of the scenario run the copy; whoever judges them runs the source. Each
text that is replaced stands exactly once in its file, which `test_faults.py` checks, so that no mutant is lost when code moves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import rig

from . import report
from .fault import FAULTS

_PATIENCE_S = 1800


@dataclass(frozen=True)
class Edit:
    """In `file`, below `src/kassa`, the text `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """`breaks` is the guard that is gone. `found_by`: numbers of faults, or tests, tried in turn until one fails."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    found_by: tuple[str, ...]
    runs: int = 20


@dataclass(frozen=True)
class Found:
    """Which scenario found a mutant, and by what; `by` is empty when none did."""

    mutant: Mutant
    by: str
    what: str


KILL_POINTS = "tests/crash/test_kill_points.py::test_whatever_dies_wherever"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "settle_does_not_look_again",
        "a verdict takes a payment from whatever status it has (the locked, conditional update of `payments.settle`)",
        (
            Edit(
                "payments/store.py",
                "WHERE merchant_id = $1 AND payment_id = $2 AND status = $3 AND (held_by IS NULL OR $4 = 'paid')",
                "WHERE merchant_id = $1 AND payment_id = $2 AND $3 <> '' AND (held_by IS NULL OR $4 = 'paid')",
            ),
        ),
        ("F09", "F10"),
    ),
    Mutant(
        "settle_does_not_lock",
        "payments of one reference are read without their row locks",
        (
            Edit(
                "payments/store.py",
                "WHERE merchant_id = $1 AND payment_id = $2 FOR UPDATE",
                "WHERE merchant_id = $1 AND payment_id = $2",
            ),
            Edit("payments/store.py", "AND ref_kind = $3 ORDER BY payment_id FOR UPDATE", "AND ref_kind = $3 ORDER BY payment_id"),
        ),
        ("F18", "F10", "F09"),
    ),
    Mutant(
        "stock_is_taken_unseen",
        "stock is reserved without the condition that it is there",
        (
            Edit(
                "catalog/store.py",
                "AND s.available >= l.quantity\n        RETURNING s.product_id, l.quantity",
                "\n        RETURNING s.product_id, l.quantity",
            ),
        ),
        ("F28",),
    ),
    Mutant(
        "a_key_is_claimed_twice",
        "a key that is claimed is claimed again (the unique key of `kit/once.py`)",
        (Edit("kit/once.py", "WHERE k.expires_at <= excluded.created_at\n        RETURNING 1", "RETURNING 1"),),
        ("F22", "F21"),
    ),
    Mutant(
        "the_intent_is_not_written",
        "an act at a neighbour is sent without its line in the journal",
        (
            Edit(
                "checkout/journal.py",
                "    move = store.Move(status, when, written, held.lease_s, refusal, tries)\n",
                '    known = [note for note in written if note.status != "running"]\n'
                "    move = store.Move(status, when, known, held.lease_s, refusal, tries)\n",
            ),
        ),
        (f"{KILL_POINTS}[three services, one is silent]", f"{KILL_POINTS}[three services, one refuses]"),
    ),
    Mutant(
        "no_fencing",
        "a leader whose lease is over writes all the same (`lease_version`)",
        (
            Edit(
                "checkout/store.py",
                "WHERE merchant_id = $1 AND checkout_id = $2 AND status = $3 AND lease_version = $4 AND updated_at = $20\n        RETURNING *",
                "WHERE merchant_id = $1 AND checkout_id = $2 AND status = $3 AND $4::bigint > 0 AND $20::timestamptz IS NOT NULL\n        RETURNING *",
            ),
        ),
        ("F56", "tests/crash/test_processes.py"),
    ),
    Mutant(
        "events_after_the_commit",
        "events are written after the transaction of their fact, in another one",
        (
            Edit(
                "events/outbox.py",
                "    tx.at_commit(_KEY, _write)\n",
                "    tx.after_commit(_KEY, lambda: _write_apart(tx))\n",
            ),
            Edit(
                "events/outbox.py",
                "async def _write(tx: Tx) -> None:\n",
                "def _write_apart(tx: Tx) -> None:\n"
                "    async def write() -> None:\n"
                '        async with tx.database.transaction("events.apart") as other:\n'
                "            other.notes[_KEY] = tx.notes[_KEY]\n"
                "            await _write(other)\n"
                "    import asyncio\n"
                "    asyncio.get_running_loop().create_task(write())\n\n\n"
                "async def _write(tx: Tx) -> None:\n",
            ),
        ),
        (f"{KILL_POINTS}[nobody else, one call]", f"{KILL_POINTS}[nobody else, a cart]"),
    ),
    Mutant(
        "relayed_before_the_confirmation",
        "a relay notes events as given before the broker has confirmed them",
        (
            Edit(
                "events/relay.py",
                '        crash.reach("relay", "before_call")\n',
                '        async with ctx.db.transaction("events.early") as tx:\n'
                "            await store.lead_on(tx, replace(lead, relayed=lead.relayed + len(batch)), _LEASE_S)\n"
                '        crash.reach("relay", "before_call")\n',
            ),
        ),
        ("F47",),
    ),
    Mutant(
        "no_fencing_of_deliveries",
        "a deliverer whose lease is over writes an outcome all the same",
        (
            Edit(
                "webhooks/delivery/store.py",
                "AND d.status = 'processing' AND d.lease_version = e.lease_version",
                "AND d.status = 'processing' AND e.lease_version > 0",
            ),
        ),
        ("F56",),
    ),
    Mutant(
        "delivered_before_the_answer",
        "a delivery is noted as made before the merchant has answered",
        (
            Edit(
                "webhooks/delivery/attempt.py",
                "    return await egress.post(claimed.url, body, headers, timeout_s=rules.timeout_s, operators=claimed.operators)\n",
                "    import asyncio\n"
                "    posting = egress.post(claimed.url, body, headers, timeout_s=rules.timeout_s, operators=claimed.operators)\n"
                "    asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, posting)\n"
                "    return Outcome(200, None)\n",
            ),
        ),
        ("F48", "F62"),
    ),
    Mutant(
        "silence_is_a_no",
        "a charge without an answer counts as declined instead of being asked about",
        (
            Edit(
                "payments/providers/card.py",
                '        except NoAnswer:\n            return Verdict("unknown", ask_in_s=0)\n        return _verdict(answer)',
                '        except NoAnswer:\n            return Verdict("declined", code="payment_unavailable")\n        return _verdict(answer)',
            ),
        ),
        ("F03", "F01"),
    ),
    Mutant(
        "anybody_reports",
        "a report is believed without its signature",
        (
            Edit(
                "api/payments/webhook.py",
                "return any(hmac.compare_digest(each, given) for each in made)",
                "return bool(made) or given == b''",
            ),
        ),
        ("F13",),
    ),
    Mutant(
        "any_sum_will_do",
        "a report with another sum or currency settles the payment",
        (
            Edit(
                "collect/report.py",
                "if report.refund_id is None and not _same_sum(payment, report):",
                "if _same_sum(payment, report) is None:",
            ),
        ),
        ("F12",),
    ),
    Mutant(
        "more_is_given_back_than_was_taken",
        "refunds are begun without looking at what is left",
        (
            Edit(
                "payments/refund.py",
                "    if wanted > payment.refundable_minor:\n        raise RefundTooLarge",
                "    if wanted < 0:\n        raise RefundTooLarge",
            ),
        ),
        ("F18",),
    ),
    Mutant(
        "tokens_are_spent_unseen",
        "a token is taken without the condition that one is left",
        (
            Edit(
                "merchants/store.py",
                "WHERE merchant_id = $1 AND active AND tokens_used < tokens_total AND ($2::text IS NULL OR plan_id = $2)",
                "WHERE merchant_id = $1 AND active AND ($2::text IS NULL OR plan_id = $2)",
            ),
        ),
        ("F32",),
        runs=2,
    ),
)


@contextmanager
def source_of(mutant: Mutant, where: Path) -> Iterator[Path]:
    """A copy of the source with the guard gone. Raises AssertionError when the guard is not where it is said to be."""
    copy = where / mutant.name
    shutil.copytree(rig.ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        for edit in mutant.edits:
            file = copy / "kassa" / edit.file
            file.write_text(changed(mutant, edit, file.read_text()))
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def changed(mutant: Mutant, edit: Edit, text: str) -> str:
    """The text of a file after an edit. Raises AssertionError when what it replaces does not stand there exactly once."""
    times = text.count(edit.old)
    assert times == 1, f"{mutant.name}: the guard stands {times} times in {edit.file}"
    return text.replace(edit.old, edit.new)


def hunt(mutant: Mutant, where: Path, seed: int) -> Found:
    """Play the scenarios of a mutant until one fails."""
    with source_of(mutant, where) as copy:
        environment = {**os.environ, "CRASH_SOURCE": str(copy), "CRASH_RESULTS": str(where / "results")}
        for by in mutant.found_by:
            wrong = _fault(by, mutant.runs, seed, environment) if by in FAULTS else _test(by, environment)
            if wrong:
                return Found(mutant, by, wrong)
    return Found(mutant, "", "")


def _fault(number: str, runs: int, seed: int, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "tests.crash", "--child", "--only", number, "--runs", str(runs), "--seed", str(seed)]
    subprocess.run(command, cwd=rig.ROOT, env=environment, capture_output=True, timeout=_PATIENCE_S, check=False)
    result = report.kept(Path(environment["CRASH_RESULTS"])).get(number)
    return result.wrong[0] if result and result.wrong else ""


def _test(name: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", name]
    done = subprocess.run(command, cwd=rig.ROOT, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    failed = [line.removeprefix("E").strip() for line in done.stdout.splitlines() if line.startswith(("E  ", "FAILED"))]
    failed.sort(key=lambda line: not line.startswith("AssertionError"))
    return failed[0].removeprefix("AssertionError: ") if done.returncode == 1 and failed else ""

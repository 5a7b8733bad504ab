"""Abuse, secrets and edges (F67 to F80, but for F79): most are held by tests that are generated from the documents, and are played here as they are."""

from __future__ import annotations

import time

from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.lines import Lines
from tests.crash.shop import opened

SECURITY = "tests/security"


@fault("F67", "Ids of others on every route and every call", holds="10", passes="nothing of others is shown")
def foreign_ids(field: Field) -> None:
    field.tests(
        f"{SECURITY}/test_object_access.py", f"{SECURITY}/test_grpc_access.py", "tests/contracts/payments/test_strangers.py"
    )


@fault(
    "F68", "A client says price, total, status, whose it is", holds="2 10", passes="refused, or without effect as the contract says"
)
def not_for_you_to_say(field: Field) -> None:
    field.tests(f"{SECURITY}/test_not_for_you_to_say.py", "-k", "closed or open_object or costs or extra", times=2)


@fault("F69", "X-Merchant-Id by somebody who is not the gateway", holds="10", passes="401 or 404")
def a_borrowed_name(field: Field) -> None:
    field.tests(f"{SECURITY}/test_not_for_you_to_say.py", "-k", "header or gateway or trusted", times=2)


@fault("F70", "Hostile tokens", holds="10", passes="none is accepted, none costs more than a good one", runs=40)
def hostile_tokens(field: Field) -> None:
    field.tests(f"{SECURITY}/test_hostile_tokens.py")


@fault("F71", "Card canaries down every way, also broken ones and through crashes", holds="12", passes="found nowhere")
def card_canaries(field: Field) -> None:
    """Three times over; beside that, every playing of every other fault looks for its cards in tables and logs."""
    field.tests("tests/flows/test_no_card_at_rest.py", "tests/flows/test_no_card_elsewhere.py", times=3)


@fault("F72", "Somebody tries stolen cards, fifty a minute", holds="-", passes="stopped by the tenth; real buyers notice nothing")
def card_testing(field: Field) -> None:
    field.tests("tests/flows/test_card_testing.py", "tests/store/cardwatch")


@fault("F73", "Ten thousand lines, negative and enormous quantities, deep JSON", holds="2 4", passes="4xx, memory stays flat")
def enormous_bodies(field: Field) -> None:
    field.tests("tests/flows/test_slow_callers.py", "tests/unit/api/test_body.py")


@fault("F74", "A comparison whose time tells how much of a secret was right", holds="-", passes="no such line in the source")
def secrets_compared(field: Field) -> None:
    field.tests("tests/test_house.py", "-k", "secrets")


@fault("F75", "Ids are guessed from one's own", holds="10", passes="unguessable")
def ids_guessed(field: Field) -> None:
    field.tests(f"{SECURITY}/test_unguessable.py", times=3)


@fault("F76", "An early failure is kept as the answer", holds="8", passes="the repeat executes")
def early_failures(field: Field) -> None:
    field.tests(f"{SECURITY}/test_early_failure.py", times=2)


@fault("F77", "A caller's deadline passes in the middle of a gRPC call", holds="3 8", passes="nothing half done, nothing left open")
def deadlines_over_grpc(field: Field) -> None:
    field.tests(f"{SECURITY}/test_grpc_fuzz.py", "-k", "deadline or leave", times=10)


@fault(
    "F78",
    "The product service, or the one that knows ambassadors, is down",
    holds="3 5",
    passes="refused within 300 ms once it is known; then found again",
    runs=60,
)
def sources_down(field: Field) -> None:
    """Nothing is sold at a price that nobody could be asked for; when the service is back, it sells again."""
    shop = opened(field, "product")
    sandbox, slow = shop.town.sandbox, list[float]()
    assert sandbox is not None

    async def refused(run: Run, lines: Lines) -> None:
        began = time.monotonic()
        said = await lines.ask(shop.servers[run.number % 2], field.buyer().buys(("prod_005", 1)))
        slow.append(time.monotonic() - began)
        run.check(said is not None and said.status in {502, 503}, f"answered {said}")

    async def sells(run: Run, lines: Lines) -> None:
        began = time.monotonic()
        said = await lines.insist(shop.servers, field.buyer().buys(("prod_005", 1)), within_s=30)
        run.check(said is not None and said.status == 200, f"answered {said}")
        run.recovered(time.monotonic() - began)

    sandbox.kill()
    field.each_of_a_crowd(refused, shop.history, at_once=1, runs=field.runs)
    before = sum(not (each and each.status in {502, 503}) for each in (op.said for op in shop.history.ops))
    field.check(before == 0, f"{before} were answered otherwise")
    slow.sort()
    field.measure("refused p95", f"{slow[int(0.95 * len(slow))] * 1000:.0f} ms")
    field.check(slow[int(0.95 * len(slow))] <= 0.3, f"the 95th of a hundred was refused after {slow[int(0.95 * len(slow))]:.2f} s")
    sandbox.start()
    field.each_of_a_crowd(sells, shop.history, at_once=4, runs=8)
    field.tests("tests/unit/catalog/test_ambassadors.py", "-k", "nobody or probe or slow or fails or back or left")
    shop.judge()


@fault("F80", "A secret is missing, or the schema is of another version", holds="-", passes="does not start, and names the cause")
def refuses_to_start(field: Field) -> None:
    field.tests("tests/unit/shell/test_refuses_to_start.py", "tests/unit/shell/test_deployment.py")

"""F67 over gRPC: every method of every proto that names something, asked for what is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import Caller, a_word, an_order, request_of
from tests.contracts.grpc.contract import message

from .documents import methods
from .town import NOWHERE, Town

PUBLIC: Final = {"ambassador_ids": "prices that everybody may ask for"}
OF_THE_CALLER: Final = {"order_id", "idempotency_key"}
"""Names that a caller gives to its own things: two merchants may use the same."""
NAMED: Final = [each for each in methods() if each.names()]


def strangers(town: Town) -> Iterator[tuple[str, list[tuple[str, str]], set[StatusCode]]]:
    """Who asks, with which metadata, and how they are told that there is no such thing for them."""
    owner, stranger = town.owner, town.stranger
    yield "nobody", [], {StatusCode.NOT_FOUND}
    yield "another merchant", [("x-api-key", stranger.api_key)], {StatusCode.NOT_FOUND}
    yield "a revoked key of the owner", [("x-api-key", town.revoked)], {StatusCode.UNAUTHENTICATED}
    yield "a key of the owner for another thing", [("x-api-key", town.reading)], {StatusCode.PERMISSION_DENIED}
    yield "a header that nobody trusts", [("x-merchant-id", owner.merchant_id)], {StatusCode.UNAUTHENTICATED}
    both = [("x-api-key", stranger.api_key), ("x-merchant-id", owner.merchant_id)]
    yield "another merchant who claims to be the owner", both, {StatusCode.PERMISSION_DENIED}
    yield "two keys", [("x-api-key", stranger.api_key), ("x-api-key", owner.api_key)], {StatusCode.UNAUTHENTICATED}


def asked(town: Town, said: list[tuple[str, str]], payment_id: str) -> tuple[StatusCode, str]:
    caller = Caller(town.server.grpc, said)
    try:
        answer = caller.ask("GetPayment", message("GetPaymentRequest")(payment_id=payment_id))
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    finally:
        caller.close()
    return StatusCode.OK, str(answer.message)


def test_every_name_in_a_request_is_known_here() -> None:
    """Whoever adds a method that names something must say here how it is tried."""
    unknown = [(str(each), name) for each in NAMED for name in each.names() if name not in {*PUBLIC, *OF_THE_CALLER, "payment_id"}]
    assert unknown == []
    assert {str(each) for each in NAMED} == {
        "/payments.v1.PaymentService/RequestPayment",
        "/payments.v1.PaymentService/GetPayment",
        "/ambassador.AmbassadorValidation/ValidateAmbassadors",
    }


def test_a_payment_of_another_is_not_there(town: Town) -> None:
    owner = Caller(town.server.grpc, [("x-api-key", town.owner.api_key)])
    canary = a_word(town.owner.canary)
    try:
        by_key = owner.pay(order_id=canary, metadata={"note": canary}).payment_id
        for payment_id in (by_key, town.owner.ids["path", "payment_id"], town.owner.more["payme payment"]):
            assert owner.look(payment_id).payment_id == payment_id
            for who, said, codes in strangers(town):
                there, nowhere = asked(town, said, payment_id), asked(town, said, NOWHERE)
                assert there[0] in codes, (who, there)
                assert (there[0], there[1].replace(payment_id, "<id>")) == (nowhere[0], nowhere[1].replace(NOWHERE, "<id>"))
                assert town.owner.canary not in there[1]
    finally:
        owner.close()


@pytest.mark.parametrize("same", ["idempotency_key", "order_id", "both"])
def test_a_key_of_another_gives_nothing_of_theirs(town: Town, same: str) -> None:
    owner = Caller(town.server.grpc, [("x-api-key", town.owner.api_key)])
    order = an_order(order_id=a_word(town.owner.canary))
    theirs = owner.pay(**order)
    owner.close()
    mine = an_order() | ({name: order[name] for name in OF_THE_CALLER} if same == "both" else {same: order[same]})
    for said in ([("x-api-key", town.stranger.api_key)], []):
        caller = Caller(town.server.grpc, said)
        try:
            answer = caller.ask("RequestPayment", request_of(mine))
            assert answer.replayed is None
            assert answer.payment_id != theirs.payment_id
        finally:
            caller.close()

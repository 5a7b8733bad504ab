"""Another merchant's payment, refund, key and order number are not there: on every route that the document lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests import rig

from .till import Mall, give_back, paid

DOCUMENT = json.loads((rig.ROOT / "docs" / "apis" / "payments.json").read_text())
NAMED = [
    (method.upper(), path)
    for path, verbs in DOCUMENT["paths"].items()
    for method in verbs
    if re.search(r"{(payment_id|refund_id|key_id)}", path)
]
BODIES: dict[str, Any] = {"POST": {"amount": "1.00"}}


@pytest.fixture(scope="module")
def belongings(mall: Mall) -> Iterator[dict[str, str]]:
    """What merchant 1 has: a payment with a refund, and a key."""
    mine = mall.merchant(1)
    payment_id = paid(mall, mine)
    refund = give_back(mine, payment_id, amount="1.00").json()
    key = mall.merchant(1).post("/api/v1/api-keys", json={"name": "mine", "scopes": ["payments:read"]}).json()
    return {"payment_id": payment_id, "refund_id": refund["refund_id"], "key_id": key["key_id"]}


def test_the_document_names_enough_of_them() -> None:
    assert len(NAMED) >= 7


@pytest.mark.parametrize(("method", "path"), NAMED, ids=str)
def test_it_is_not_there_for_a_stranger(mall: Mall, belongings: dict[str, str], method: str, path: str) -> None:
    stranger = mall.merchant(2)
    answer = stranger.request(
        method, path.format(**belongings), json=BODIES.get(method), headers={"Idempotency-Key": "stranger-" + method.lower()}
    )
    assert answer.status_code == 404, answer.text
    assert not any(secret in answer.text for secret in belongings.values())


@pytest.mark.parametrize(("method", "path"), [each for each in NAMED if each[0] != "DELETE"], ids=str)
def test_its_owner_finds_it(mall: Mall, belongings: dict[str, str], method: str, path: str) -> None:
    owner = mall.merchant(1)
    answer = owner.request(
        method, path.format(**belongings), json=BODIES.get(method), headers={"Idempotency-Key": "owner-" + path[-9:]}
    )
    assert answer.is_success, answer.text

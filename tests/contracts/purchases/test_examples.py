"""The contract's examples, typed as they are written (section 12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .journeys import UUID7, Json, Shop, a_transaction

ADD = 'curl -s localhost:8000/cart/items -H "$T" -d \'{"ambassador_id": %d}\''
CART = 'curl -s localhost:8000/cart -H "$T"'
CHECKOUT = 'curl -s -X POST localhost:8000/checkout -H "$T"'
PURCHASES = 'curl -s localhost:8000/purchases -H "$T"'
TOKEN = 'T="Authorization: Bearer $(kassa token --user 42)"'
PAYME = "Basic UGF5Y29tOkQzbW9LYXNzYUtleTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAzNg=="


def typed(shop: Shop, *lines: str, token: str = TOKEN) -> list[Json]:
    """What these lines answer, typed into a shell one after the other."""
    port = shop.server.url.rpartition(":")[2]
    script = "\n".join([token, *(f"{line}; echo" for line in lines)]).replace("localhost:8000", f"127.0.0.1:{port}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**shop.server.environment, "PATH": path, "no_proxy": "*"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def called(shop: Shop, body: Json) -> Any:
    answer = shop.http.post("/payme/webhook", content=json.dumps(body), headers={"Authorization": PAYME})
    assert answer.status_code == 200
    assert answer.json()["jsonrpc"] == "2.0"
    assert answer.json()["id"] == body["id"]
    assert "result" in answer.json(), (body, answer.text)
    return answer.json()["result"]


def test_from_an_empty_cart_to_two_purchases(house: Shop) -> None:
    one, four, nobody, cart, bought, history = typed(house, ADD % 1, ADD % 4, ADD % 99, CART, CHECKOUT, PURCHASES)
    assert (one["ambassador_id"], one["price"], four["ambassador_id"], four["price"]) == (1, 5000000, 4, 2500000)
    assert nobody == {"detail": "Ambassador not found", "code": "ambassador_not_found"}
    assert (cart["user_id"], cart["items"], cart["total"], cart["invalid_ids"]) == (42, [one, four], 7500000, [])
    assert bought["amount"] == 7500000
    assert history == {"purchases": [], "total": 0}

    order = {"amount": 7500000, "account": {"order_id": bought["purchase_id"]}}
    transaction, now = a_transaction(), house.payme.clock()
    assert called(house, {"method": "CheckPerformTransaction", "id": 1, "params": order}) == {"allow": True}
    created = called(house, {"method": "CreateTransaction", "id": 2, "params": {"id": transaction, "time": now, **order}})
    assert set(created) == {"create_time", "transaction", "state"}
    assert UUID7.fullmatch(created["transaction"])
    assert created["state"] == 1
    performed = called(house, {"method": "PerformTransaction", "id": 3, "params": {"id": transaction}})
    assert performed == {"transaction": created["transaction"], "perform_time": performed["perform_time"], "state": 2}
    assert called(house, {"method": "CheckTransaction", "id": 4, "params": {"id": transaction}}) == {
        "create_time": created["create_time"],
        "perform_time": performed["perform_time"],
        "cancel_time": 0,
        "transaction": created["transaction"],
        "state": 2,
        "reason": None,
    }
    history, cart = typed(house, PURCHASES, CART, token=f'T="Authorization: Bearer {house.server.token(42)}"')
    assert [(row["ambassador_id"], row["price_paid"]) for row in history["purchases"]] == [(4, 2500000), (1, 5000000)]
    assert history["total"] == 2
    assert (cart["items"], cart["total"], cart["invalid_ids"]) == ([], 0, [])

"""Callers who hang up at any moment leave nothing half done (F24, F25)."""

from __future__ import annotations

import httpx2

from .provider import Reply
from .till import BASE, NO_TLS, Json, Mall, a_key, ask, give_back, ledger_of, paid, refunds_of, show, tokens_used, until, wish


def hang_up(mall: Mall, path: str, body: Json, headers: dict[str, str], after: float) -> None:
    """Post, and close the connection after so many seconds, answered or not."""
    sent = {"X-Api-Key": "sk_demo_6", **headers}
    with httpx2.Client(base_url=mall.server.url, verify=NO_TLS, trust_env=False, timeout=httpx2.Timeout(10, read=after)) as client:
        try:
            client.post(path, json=body, headers=sent)
        except httpx2.TimeoutException:
            return


def nobody_idles_in_a_transaction(mall: Mall) -> bool:
    """F44: sessions that hold a transaction open and do nothing, longer than a moment."""
    rows = mall.server.sql(
        """SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()
            AND state LIKE 'idle in transaction%' AND now() - state_change > interval '2 seconds'""",
    )
    return rows[0]["n"] == 0


def test_buyers_servers_that_hang_up_while_asking(mall: Mall) -> None:
    who = mall.merchant(6)
    before = tokens_used(who)
    bodies = [wish(price="1.250") for _ in range(30)]
    keys = [{"Idempotency-Key": a_key()} for _ in bodies]
    for place, (body, key) in enumerate(zip(bodies, keys, strict=True)):
        mall.provider.for_link(body["order_id"], Reply(body="honest", after=0.03))
        hang_up(mall, BASE, body, key, 0.001 + place * 0.003)
    for body, key in zip(bodies, keys, strict=True):

        def answered(body: Json = body, key: dict[str, str] = key) -> Json | None:
            answer = ask(who, body, headers=key)
            assert answer.status_code == 200 or answer.json()["code"] in {"idempotency_in_progress", "payment_already_exists"}, (
                answer.text
            )
            return answer.json() if answer.json().get("payment_url") else None

        found = until(answered, 20, "the link is known")
        listed = who.get(BASE, params={"order_id": body["order_id"]}).json()
        assert [item["payment_id"] for item in listed["items"]] == [found["payment_id"]]
        assert {call.body["payment_id"] for call in mall.provider.links(body["order_id"])} == {found["payment_id"]}
    assert tokens_used(who) == before + len(bodies)
    until(lambda: nobody_idles_in_a_transaction(mall), hope="no transaction is left open")


def test_buyers_servers_that_hang_up_while_refunding(mall: Mall) -> None:
    who = mall.merchant(6)
    payment_id = paid(mall, who, wish(price="30.000"))
    mall.provider.for_refund(payment_id, Reply(body="honest", after=0.03))
    keys = [a_key() for _ in range(20)]
    for place, key in enumerate(keys):
        hang_up(mall, f"{BASE}/{payment_id}/refunds", {"amount": "1.000"}, {"Idempotency-Key": key}, 0.001 + place * 0.004)
    for key in keys:
        until(lambda key=key: give_back(who, payment_id, key, amount="1.000").status_code == 201, 20, "the refund is answered")
    until(lambda: refunds_of(who, payment_id)["refunded"] == "20.000", 20, "all twenty went back, each once")
    assert (show(who, payment_id)["refundable"], ledger_of(who, payment_id)["balance"]) == ("10.000", "10.000")
    ids = {call.body["refund_id"] for call in mall.provider.refunds(payment_id)}
    assert ids == {item["refund_id"] for item in refunds_of(who, payment_id)["items"]}
    assert len(ids) == 20

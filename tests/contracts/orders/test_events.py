"""Live status: a stream that starts with the present, misses nothing and repeats nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    INSTANT,
    Json,
    SignIn,
    anybody,
    buy,
    buy_for_cash,
    buy_paid,
    buy_waiting,
    eventually,
    moved,
    read,
    refusal,
    track,
    visitors,
    wait_for,
)

MESSAGE_MEMBERS = {
    *("orderId", "sequence", "status", "paymentStatus", "at", "note"),
    *("trackingNumber", "carrier", "estimatedDelivery"),
}


def messages(response: httpx2.Response) -> Iterator[Json]:
    """The messages of a stream, after looking at how each is written."""
    block: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            assert name not in block
            block[name] = value.removeprefix(" ")
        elif block:
            assert set(block) == {"id", "event", "data"}
            assert block["event"] == "order"
            message: Json = json.loads(block["data"])
            assert set(message) == MESSAGE_MEMBERS
            assert message["sequence"] == int(block["id"])
            assert INSTANT.fullmatch(message["at"])
            yield message
            block = {}


@contextmanager
def listening(who: httpx2.Client, order_id: str, last: str | None = None) -> Iterator[Iterator[Json]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    path = f"/api/orders/{order_id}/events"
    with who.stream("GET", path, headers=headers, timeout=5) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield messages(response)


def first_message(who: httpx2.Client, order_id: str, last: str | None = None) -> Json:
    with listening(who, order_id, last) as stream:
        return next(stream)


def history(who: httpx2.Client, order_id: str) -> list[Json]:
    """Every event so far: the stream from its beginning up to the present."""
    end = first_message(who, order_id)["sequence"]
    with listening(who, order_id, "0") as stream:
        return [next(stream) for _ in range(end)]


def test_a_stream_says_how_it_wants_to_be_handled(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)["id"]
    with buyer.stream("GET", f"/api/orders/{order}/events", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-Id"]


def test_the_first_byte_comes_within_a_second(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)["id"]
    began = time.monotonic()
    first_message(buyer, order)
    assert time.monotonic() - began < 1


def test_a_new_order_is_event_one(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    message = first_message(buyer, order["id"])
    assert message == {
        "orderId": order["id"],
        "sequence": 1,
        "status": "pending",
        "paymentStatus": "pending",
        "at": order["createdAt"],
        "note": None,
        "trackingNumber": None,
        "carrier": None,
        "estimatedDelivery": order["estimatedDelivery"],
    }


def test_a_stream_starts_with_the_present(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    moved(staff, order, "shipped", trackingNumber="1Z999", carrier="DHL", note="today")
    message = first_message(buyer, order)
    assert (message["status"], message["paymentStatus"]) == ("shipped", "pending")
    assert (message["trackingNumber"], message["carrier"]) == ("1Z999", "DHL")
    assert message["sequence"] == len(history(buyer, order))


def test_a_buyer_watches_the_money_arrive(buyer: httpx2.Client) -> None:
    order = buy(buyer)["id"]
    with listening(buyer, order) as stream:
        message = next(stream)
        while message["status"] != "paid":
            message = next(stream)
    assert message["paymentStatus"] == "paid"


def test_events_are_numbered_without_gaps(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_paid(buyer)["id"]
    for status in ("processing", "shipped", "delivered"):
        moved(staff, order, status)
    story = history(buyer, order)
    assert [message["sequence"] for message in story] == list(range(1, len(story) + 1))
    statuses = [message["status"] for message in story]
    assert list(dict.fromkeys(statuses)) == [
        *("pending", "paid", "processing", "shipped", "delivered"),
    ]
    assert (statuses[0], story[-1]["paymentStatus"]) == ("pending", "paid")


def test_a_move_is_seen_within_two_seconds(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    with listening(buyer, order) as stream:
        seen = next(stream)["sequence"]
        for status in ("shipped", "delivered"):
            began = time.monotonic()
            moved(staff, order, status)
            message = next(stream)
            assert time.monotonic() - began < 2
            assert (message["status"], message["sequence"]) == (status, seen + 1)
            seen += 1


def test_two_watchers_see_the_same(sign_in: SignIn, staff: httpx2.Client) -> None:
    buyer = sign_in()
    order = buy_for_cash(buyer)["id"]
    with listening(buyer, order) as one, listening(staff, order) as other:
        assert next(one) == next(other)
        moved(staff, order, "shipped", carrier="DHL")
        assert next(one) == next(other)


def test_who_comes_back_misses_nothing(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    seen = first_message(buyer, order)["sequence"]
    moved(staff, order, "shipped")
    moved(staff, order, "delivered")
    with listening(buyer, order, str(seen)) as stream:
        first, second = next(stream), next(stream)
    assert [(m["sequence"], m["status"]) for m in (first, second)] == [
        (seen + 1, "shipped"),
        (seen + 2, "delivered"),
    ]


def test_who_has_seen_everything_waits_for_the_next(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    seen = first_message(buyer, order)["sequence"]
    with listening(buyer, order, str(seen)) as stream:
        moved(staff, order, "shipped")
        message = next(stream)
    assert (message["sequence"], message["status"]) == (seen + 1, "shipped")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1000", "99999999999999999999", "2,3"])
def test_a_place_that_is_none_gives_the_present(buyer: httpx2.Client, last: str) -> None:
    order = buy_paid(buyer)["id"]
    assert first_message(buyer, order, last) == first_message(buyer, order)


def test_mended_parcel_data_is_seen_live_but_is_no_step(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    moved(staff, order, "shipped", trackingNumber="1Z999")
    steps = len(track(buyer, order)["events"])
    with listening(buyer, order) as stream:
        seen = next(stream)["sequence"]
        moved(staff, order, "shipped", trackingNumber="1Z999")  # nothing new: no event
        moved(staff, order, "shipped", trackingNumber="2Z000")
        message = next(stream)
    assert (message["sequence"], message["trackingNumber"]) == (seen + 1, "2Z000")
    assert message["status"] == "shipped"
    assert len(track(buyer, order)["events"]) == steps


def test_a_refund_is_seen_live(buyer: httpx2.Client) -> None:
    order = buy_paid(buyer)["id"]
    with listening(buyer, order) as stream:
        next(stream)
        moved(buyer, order, "cancelled", note="by mistake")
        message = next(stream)
        assert (message["status"], message["note"]) == ("cancelled", "by mistake")
        while message["paymentStatus"] != "refunded":
            message = next(stream)


def test_cash_at_the_door_is_seen_live(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    moved(staff, order, "shipped")
    moved(staff, order, "delivered")
    wait_for(buyer, order, "delivered", "paid")
    assert eventually(lambda: first_message(buyer, order)["paymentStatus"] == "paid")


def test_no_stream_without_a_right_to_it(passer_by: httpx2.Client, buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    path = f"/api/orders/{buy_waiting(buyer)['id']}/events"
    refusal(passer_by.get(path), 401, "unauthorized")
    refusal(stranger.get(path), 404, "not_found")
    refusal(buyer.get("/api/orders/nothing/events"), 404, "not_found")


def test_a_stream_ends_with_its_token(server: Server) -> None:
    user = anybody()
    with visitors(server) as visit:
        order = buy_waiting(visit(server.token(user)))["id"]
        short = visit(server.token(user, exp=int(time.time()) + 2))
        began = time.monotonic()
        with listening(short, order) as stream:
            assert next(stream)["status"] == "pending"
            with suppress(httpx2.RemoteProtocolError):  # cut off is an end, too
                assert list(stream) == []
        assert time.monotonic() - began < 4


def test_a_quiet_stream_has_a_heartbeat(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)["id"]
    with buyer.stream("GET", f"/api/orders/{order}/events", timeout=17) as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        assert next(comments) == ": heartbeat"


def test_a_decline_is_seen_live(buyer: httpx2.Client) -> None:
    order = buy(buyer, paymentDetails={"cardNumber": "4000000000000002"})["id"]
    with listening(buyer, order) as stream:
        message = next(stream)
        while message["status"] != "cancelled":
            message = next(stream)
    assert eventually(lambda: read(buyer, order)["paymentStatus"] == "failed")

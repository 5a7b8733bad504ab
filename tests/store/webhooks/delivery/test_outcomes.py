"""What becomes of a delivery and of its endpoint, one attempt after another."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.store.webhooks.delivery.town import MERCHANT, Answer, Town, payment

DAY_S = 86_400


async def test_an_event_is_delivered_and_its_attempt_written_down(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject)
    town.merchants.will("/hook", Answer(201, body=b"thank you"))
    assert await town.now() == 1
    found = await town.one(subject)
    assert (found["status"], found["attempts"], found["last_status_code"], found["last_error"]) == ("success", 1, 201, None)
    [tried] = await town.attempts(found["delivery_id"])
    assert (tried["number"], tried["status_code"], tried["error"], tried["response"]) == (1, 201, None, "thank you")
    assert tried["began_at"] <= found["ended_at"]
    assert await town.now() == 0


async def test_a_failed_attempt_is_tried_again_by_the_plan(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject)
    town.merchants.will("/hook", Answer(500, body=b"sorry"))
    await town.now()
    found = await town.one(subject)
    assert (found["status"], found["last_status_code"], found["last_error"], found["tries"]) == ("retrying", 500, "status", 1)
    [tried] = await town.attempts(found["delivery_id"])
    assert timedelta(seconds=0.79) < found["next_at"] - tried["began_at"] < timedelta(seconds=2)
    assert await town.now() == 0
    for attempt in (2, 3, 4):
        await town.later(seconds=1.2)
        assert await town.now() == 1
        assert town.merchants.calls[-1].attempt == attempt
    found = await town.one(subject)
    assert (found["status"], found["attempts"], found["next_at"]) == ("failed", 4, None)
    assert len(await town.attempts(found["delivery_id"])) == 4
    assert {call.headers["webhook-id"] for call in town.merchants.calls} == {str(found["event_id"])}


async def test_retry_after_moves_the_next_attempt_away(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject)
    town.merchants.will("/hook", Answer(503, headers="Retry-After: 100\r\n"), Answer())
    await town.now()
    await town.later(seconds=98)
    assert await town.now() == 0
    await town.later(seconds=2)
    assert await town.now() == 1
    assert (await town.one(subject))["status"] == "success"


async def test_410_disables_the_endpoint_and_blocks_what_it_still_owes(town: Town) -> None:
    gone, other = await town.endpoint("/gone", events=("payment.*",)), await town.endpoint("/other", events=("endpoint.*",))
    subjects = [payment() for _ in range(12)]
    await town.tell(*subjects)
    town.merchants.will("/gone", Answer(410))
    await town.now()
    health = await town.health(gone)
    assert (health["status"], health["disabled_reason"]) == ("disabled", "gone")
    found = [each for each in await town.deliveries() if each["endpoint_id"] == gone.endpoint_id]
    assert {each["status"] for each in found} == {"blocked"}
    assert 1 <= sum(each["attempts"] for each in found) <= 8
    await town.now()
    [told] = await town.deliveries(gone.subject)
    assert (told["event_type"], told["endpoint_id"], told["status"]) == ("endpoint.disabled", other.endpoint_id, "success")


async def test_ten_failures_open_the_breaker_and_a_probe_decides(town: Town) -> None:
    endpoint = await town.endpoint(ordered=False)
    town.merchants.will("/hook", Answer(500))
    await town.tell(*[payment() for _ in range(9)])
    await town.now()
    await town.tell(*[payment() for _ in range(6)])
    await town.now()
    health = await town.health(endpoint)
    failed = len(town.merchants.calls)
    assert (health["failures"], health["pause_s"]) == (failed, 2)
    assert 10 <= failed <= 15
    assert await town.now() == 0
    await town.later(seconds=2)
    assert await town.now() == 1
    assert (await town.health(endpoint))["pause_s"] == 4
    await town.later(seconds=3.5)
    assert await town.now() == 0
    await town.later(seconds=0.5)
    assert await town.now() == 1
    assert (await town.health(endpoint))["pause_s"] == 8
    town.merchants.will("/hook", Answer())
    await town.later(seconds=8)
    assert await town.now() == 1
    health = await town.health(endpoint)
    assert (health["failures"], health["paused_until"], health["pause_s"], health["attempts_since_success"]) == (0, None, 0, 0)
    assert await town.now() == 8


async def test_a_pause_is_a_minute_at_most_and_uses_up_no_attempt(town: Town) -> None:
    endpoint = await town.endpoint()
    subject = payment()
    await town.tell(subject)
    await town.db.execute("UPDATE endpoints SET failures = 20, pause_s = 60, paused_until = kassa_now() - interval '1 second'")
    town.merchants.will("/hook", Answer(500))
    assert await town.now() == 1
    assert (await town.health(endpoint))["pause_s"] == 60
    await town.later(seconds=59)
    assert await town.now() == 0
    assert (await town.one(subject))["attempts"] == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_who_asks_for_mercy_gets_one_request_at_a_time(town: Town, status: int) -> None:
    endpoint = await town.endpoint()
    await town.tell(payment())
    town.merchants.will("/hook", Answer(status), Answer())
    await town.now()
    assert (await town.health(endpoint))["throttled"]
    await town.tell(*[payment() for _ in range(5)])
    assert await town.now() == 1
    assert not (await town.health(endpoint))["throttled"]
    assert await town.now() == 4


async def test_no_2xx_for_five_days_disables_the_endpoint(town: Town) -> None:
    endpoint = await town.endpoint(ordered=False)
    town.merchants.will("/hook", Answer(404))
    await town.tell(*[payment() for _ in range(9)])
    await town.now()
    await town.later(days=5)
    await town.now()
    health = await town.health(endpoint)
    assert (health["status"], health["disabled_reason"]) == ("disabled", "failing")
    assert {each["status"] for each in await town.deliveries() if each["endpoint_id"] == endpoint.endpoint_id} <= {
        "blocked",
        "failed",
    }


async def test_a_quiet_endpoint_that_failed_for_five_days_is_found_by_the_tidy_worker(town: Town) -> None:
    endpoint = await town.endpoint()
    await town.db.execute("UPDATE endpoints SET attempts_since_success = 10, good_at = kassa_now() - interval '5 days'")
    assert await town.deliverer.tidy(town.ctx) >= 1
    assert (await town.health(endpoint))["disabled_reason"] == "failing"
    told = await town.db.value("SELECT count(*) FROM events WHERE type = 'endpoint.disabled' AND merchant_id = $1", MERCHANT)
    assert told == 1
    await town.deliverer.tidy(town.ctx)
    assert told == await town.db.value("SELECT count(*) FROM events WHERE type = 'endpoint.disabled'")


async def test_an_attempt_that_ends_at_a_disabled_endpoint_waits_until_it_is_enabled(town: Town) -> None:
    endpoint = await town.endpoint()
    subject = payment()
    await town.tell(subject)

    async def disable(_: object) -> Answer:
        await town.db.execute(
            "UPDATE endpoints SET status = 'disabled', disabled_reason = 'manual' WHERE endpoint_id = $1", endpoint.endpoint_id
        )
        return Answer(500)

    town.merchants.rules["/hook"] = disable
    await town.now()
    assert (await town.one(subject))["status"] == "blocked"


async def test_an_attempt_that_ends_at_a_deleted_endpoint_is_a_dead_letter(town: Town) -> None:
    endpoint = await town.endpoint()
    subject = payment()
    await town.tell(subject)

    async def delete(_: object) -> Answer:
        await town.db.execute("UPDATE endpoints SET deleted_at = kassa_now() WHERE endpoint_id = $1", endpoint.endpoint_id)
        return Answer(500)

    town.merchants.rules["/hook"] = delete
    await town.now()
    found = await town.one(subject)
    assert (found["status"], found["last_error"]) == ("failed", "endpoint_deleted")


async def test_a_replay_has_a_new_plan_and_keeps_its_number_of_attempts(town: Town) -> None:
    from kassa import webhooks

    endpoint = await town.endpoint()
    subject = payment()
    await town.tell(subject)
    await town.now()
    found = await town.one(subject)
    town.merchants.will("/hook", Answer(500), Answer())
    async with town.db.transaction("test") as tx:
        await webhooks.replay_delivery(tx, MERCHANT, endpoint.endpoint_id, found["delivery_id"])
    assert await town.now() == 1
    assert (await town.one(subject))["status"] == "retrying"
    await town.later(seconds=1.2)
    assert await town.now() == 1
    found = await town.one(subject)
    assert (found["status"], found["attempts"], found["tries"]) == ("success", 3, 2)
    assert [call.attempt for call in town.merchants.calls] == [1, 2, 3]
    assert len({call.headers["webhook-id"] for call in town.merchants.calls}) == 1

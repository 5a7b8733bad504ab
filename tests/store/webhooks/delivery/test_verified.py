"""The invariants of deliveries: a busy town is well, and one thing that is spoilt is found by its sentence."""

from __future__ import annotations

import pytest
from tests.store.webhooks.delivery.town import MERCHANT, Answer, Town, payment

from kassa import webhooks
from kassa.verify import check, deliveries

OLD = "kassa_now() - interval '20 minutes'"
SPOILT = {
    "An endpoint wants an event and has no delivery of it": "DELETE FROM deliveries WHERE status = 'success' AND NOT replayed AND sequence = 1",
    "A delivery of no event, or of another than it says": "UPDATE deliveries SET sequence = 9, replayed = true WHERE status = 'success'",
    "A delivery is open at an endpoint that is closed": f"""
        WITH late AS (UPDATE deliveries SET status = 'pending', next_at = kassa_now(), created_at = {OLD}, replayed = true WHERE status = 'blocked')
        UPDATE endpoints SET status = 'disabled', disabled_reason = 'manual', updated_at = {OLD}""",
    "A delivery is held by nobody, five minutes after its lease": """
        UPDATE deliveries SET status = 'processing', next_at = NULL, lease_until = now() - interval '6 minutes', attempts = attempts + 1
         WHERE status = 'retrying'""",
    "A delivery is blocked, and nothing is before it": f"""
        WITH old AS (UPDATE endpoints SET updated_at = {OLD})
        UPDATE deliveries SET status = 'blocked', next_at = NULL, created_at = {OLD} WHERE status = 'retrying'""",
    "An attempt began while an earlier event of its subject was still owed": """
        UPDATE delivery_attempts a SET began_at = a.began_at - interval '1 hour' FROM deliveries d
         WHERE d.delivery_id = a.delivery_id AND d.sequence = 2 AND d.status = 'success'""",
    "A delivery says what its attempts do not": "UPDATE delivery_attempts SET status_code = 500, error = 'status' WHERE status_code = 200",
}


async def play(town: Town) -> None:
    """A success of two numbers, a retry with one blocked behind it, a dead letter, a replay."""
    endpoint = await town.endpoint()
    await town.later(seconds=16)
    good, bad, dead = payment(), payment(), payment()
    town.merchants.rules["/hook"] = lambda call: Answer(200 if call.subject == good else 500)
    await town.tell(good, good, dead)
    await town.now()
    for _ in range(4):
        await town.later(seconds=1.3)
        await town.now()
    await town.tell(bad, bad, good)
    await town.now()
    [last] = [each for each in await town.deliveries(good) if each["sequence"] == 3]
    async with town.db.transaction("test") as tx:
        await webhooks.replay_delivery(tx, MERCHANT, endpoint.endpoint_id, last["delivery_id"])
    await town.now()
    assert sorted(each["status"] for each in await town.deliveries()) == [
        "blocked",
        "failed",
        "retrying",
        "success",
        "success",
        "success",
    ]


async def found(town: Town, spoil: str | None = None) -> set[str]:
    """What is found wrong, by its sentence; what was spoilt is mended again."""
    try:
        async with town.db.transaction("test") as tx:
            if spoil is not None:
                assert await tx.execute(spoil) > 0
            sentences = {each.text.partition(":")[0] for each in await check(tx, 7)}
            raise RuntimeError
    except RuntimeError:
        return sentences


def test_every_question_is_spoilt_once() -> None:
    assert set(SPOILT) == {question.says for question in deliveries.QUESTIONS}


async def test_a_busy_town_is_well(town: Town) -> None:
    await play(town)
    assert await found(town) == set()


@pytest.mark.parametrize("sentence", SPOILT)
async def test_what_is_spoilt_is_found(town: Town, sentence: str) -> None:
    await play(town)
    assert await found(town, SPOILT[sentence]) == {sentence}


async def test_what_waits_for_an_enabled_endpoint_waits_ninety_days(town: Town) -> None:
    endpoint = await town.endpoint()
    async with town.db.transaction("test") as tx:
        await webhooks.disable_endpoint(tx, MERCHANT, endpoint.endpoint_id)
    await town.later(seconds=16)
    await town.tell(payment())
    await town.later(days=90)
    assert await found(town) == set()
    await town.later(days=2)
    assert await found(town) == {"A delivery is open at an endpoint that is closed"}
    await town.deliverer.tidy(town.ctx)
    assert await found(town) == set()
    [dead] = await town.deliveries()
    assert (dead["status"], dead["last_error"]) == ("failed", "endpoint_disabled")

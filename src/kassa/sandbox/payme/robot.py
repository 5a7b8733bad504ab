"""The robot: it plays the script of a rehearsal against an endpoint, step by step, and judges every answer.

It asks for real: with orders of a real shop it makes, performs and gives back transactions of them. Nothing is printed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp

from kassa.sandbox.payme import attempts, door
from kassa.sandbox.payme.judge import Memory, brief, envelope
from kassa.sandbox.payme.script import Sheet, Step, Wish
from kassa.sandbox.payme.wire import Endpoint, Heard, ask, new_session, send

_SCENES: tuple[Callable[[Sheet], None], ...] = (
    door.write_authorisation,
    door.write_body,
    door.write_number,
    door.write_address,
    door.write_types,
    door.write_unknown,
    attempts.write_cancel,
    attempts.write_late,
    attempts.write_perform,
    attempts.write_one_id,
    attempts.write_race,
    attempts.write_at_once,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step. `why` says what was wrong, or why it was left out; `took_ms` is the slowest of its answers."""

    step: Step
    verdict: Literal["pass", "fail", "skip"]
    got: str
    why: str
    took_ms: float | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """All outcomes in the order of the script, and the transactions (Payme's ids) that could not be brought to an end."""

    outcomes: tuple[Outcome, ...]
    left_open: tuple[str, ...]

    def count(self, verdict: str) -> int:
        """How many steps ended so."""
        return sum(outcome.verdict == verdict for outcome in self.outcomes)


def write_script(endpoint: Endpoint, wish: Wish) -> Sheet:
    """The whole script, with steps that cannot be played marked as missing."""
    sheet = Sheet(endpoint, wish)
    for write in _SCENES:
        write(sheet)
    return sheet


async def rehearse(endpoint: Endpoint, wish: Wish, told: Callable[[Outcome], None] = lambda _: None) -> Rehearsal:
    """Play everything; `told` hears each outcome at once. What a scenario created is cancelled or given back at its end.

    Never raises for what the endpoint does. A second time it needs fresh orders: of the first only one stays unpaid.
    """
    sheet, memory, verdicts = write_script(endpoint, wish), Memory(), dict[str, str]()
    outcomes, left = list[Outcome](), list[str]()
    async with new_session() as session:
        for scenario, steps in itertools.groupby(sheet.steps, lambda step: step.scenario):
            try:
                for step in steps:
                    outcome = _left_out(step, verdicts) or await _play(session, endpoint, step, memory)
                    verdicts[step.name] = outcome.verdict
                    outcomes.append(outcome)
                    told(outcome)
            finally:
                left += await _tidy(session, endpoint, sheet.ids.get(scenario, []))
    return Rehearsal(tuple(outcomes), tuple(left))


def _left_out(step: Step, verdicts: dict[str, str]) -> Outcome | None:
    missing = [name for name in step.needs if verdicts.get(name) != "pass"]
    why = step.missing or (f"needs “{missing[0]}”" if missing else "")
    return Outcome(step, "skip", "", why, None) if why else None


async def _play(session: aiohttp.ClientSession, endpoint: Endpoint, step: Step, memory: Memory) -> Outcome:
    await asyncio.sleep(step.pause_ms / 1000)
    messages = step.say(memory)
    answers = tuple(await asyncio.gather(*(send(session, endpoint, message) for message in messages)))
    memory.heard[step.name] = answers
    wrong = next(filter(None, map(envelope, answers, messages)), None) or step.expect.judge(answers, memory)
    if step.name == attempts.CREATED and wrong is None:
        memory.offset_ms = answers[0].result["create_time"] - answers[0].at_ms
    took = max(heard.took_ms for heard in answers)
    return Outcome(step, "fail" if wrong else "pass", _got(answers), wrong or "", took)


def _got(answers: tuple[Heard, ...]) -> str:
    counted = Counter(map(brief, answers))
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(kind if times == 1 else f"{times} times {kind}" for kind, times in counted.items())


async def _tidy(session: aiohttp.ClientSession, endpoint: Endpoint, ids: list[str]) -> list[str]:
    """Cancel what stands in state 1 or 2. Returns the ids for which that did not succeed."""
    left = []
    for payme_id in ids:
        heard = await send(session, endpoint, ask("CheckTransaction", {"id": payme_id}))
        if not _is_open(heard):
            continue
        heard = await send(session, endpoint, ask("CancelTransaction", {"id": payme_id, "reason": 5}))
        if _is_open(heard) or heard.result is None:
            left.append(payme_id)
    return left


def _is_open(heard: Heard) -> bool:
    with contextlib.suppress(AttributeError):
        return heard.result.get("state") in {1, 2}
    return False

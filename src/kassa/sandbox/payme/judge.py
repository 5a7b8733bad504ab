"""What an answer must look like: the envelope of sections 2.3 and 2.4, and one expectation for each kind of step.

A judgement is a sentence that says what is wrong, or None. Nothing here sends or prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kassa.sandbox import exact
from kassa.sandbox.payme.wire import Heard, Message

_LANGUAGES = ("ru", "uz", "en")
_SHOWN = ("create_time", "perform_time", "cancel_time", "transaction", "state", "reason")
_LISTED = ("id", "time", "amount", "account", *_SHOWN, "receivers")
_ACCOUNT_ERRORS = range(-31099, -31049)
ANYTHING: Any = object()
"""`data` that is not looked at."""


@dataclass(slots=True)
class Memory:
    """What was heard so far, by the name of the step; `offset_ms` is how far the merchant's clock is ahead of ours."""

    heard: dict[str, tuple[Heard, ...]] = field(default_factory=dict)
    offset_ms: int = 0

    def result(self, step: str | None) -> Mapping[str, Any]:
        """The first result of a step; empty when it has none."""
        answers = self.heard.get(step or "", ())
        return next((one.result for one in answers if isinstance(one.result, dict)), {})


@dataclass(frozen=True, slots=True)
class Expect:
    """`text` for people; `judge` looks at all answers of one step, in the order of the requests."""

    text: str
    judge: Callable[[Sequence[Heard], Memory], str | None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction of Payme's, and the names of the steps that made, performed and cancelled it."""

    payme_id: str
    time_ms: int
    amount: int
    account: Mapping[str, Any]
    created: str
    performed: str | None = None
    cancelled: str | None = None


def envelope(heard: Heard, message: Message) -> str | None:
    """What is wrong with the envelope of an answer, whatever it says."""
    if not heard.status:
        return f"no answer ({heard.fault})"
    if heard.status != 200:
        return f"HTTP {heard.status}; it must be 200"
    if not isinstance(heard.answer, dict):
        return "the answer is not a JSON object"
    if not heard.content_type.lower().startswith("application/json"):
        return "Content-Type is not application/json"
    if heard.answer.get("jsonrpc") != "2.0":
        return 'jsonrpc is not "2.0"'
    if "id" not in heard.answer or not same(heard.answer["id"], message.echo):
        return f"id is not {exact.dumps(message.echo).decode()}"
    if ("result" in heard.answer) == ("error" in heard.answer):
        return "there must be either result or error"
    return None if "result" in heard.answer else _wrong_error(heard.answer["error"])


def _wrong_error(error: Any) -> str | None:
    if not isinstance(error, dict) or not _whole(error.get("code")):
        return "error.code is not an integer"
    message = error.get("message")
    if not isinstance(message, dict) or not all(isinstance(message.get(one), str) and message[one].strip() for one in _LANGUAGES):
        return "error.message lacks a text in ru, uz or en"
    if error["code"] in _ACCOUNT_ERRORS and not isinstance(error.get("data"), str):
        return "error.data must name the account's field"
    return None


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1, true and 1.0 differ, the order of members does not count."""
    return bool(_canonical(one) == _canonical(other))


def brief(heard: Heard) -> str:
    """An answer in a few words, for a table."""
    if not heard.status:
        return f"no answer ({heard.fault})"
    shown = "" if heard.status == 200 else f"HTTP {heard.status} "
    if heard.error:
        data = heard.error.get("data")
        return f"{shown}{heard.error.get('code')}" + (f" {data}"[:40] if isinstance(data, str) else "")
    if not isinstance(heard.result, dict):
        return f"{shown}no JSON-RPC answer"
    result = heard.result
    if isinstance(result.get("transactions"), list):
        return f"{shown}{len(result['transactions'])} transactions"
    words = [
        name if value is True else f"{name} {value}" for name, value in result.items() if name in {"allow", "success", "state"}
    ]
    return shown + (", ".join(words)[:40] or "a result")


def refused(*codes: int, data: Any = ANYTHING) -> Expect:
    """An error with one of these codes, and with `data` where it is given."""

    def judge(heard: Heard, _memory: Memory) -> str | None:
        if heard.error.get("code") not in codes:
            return f"the code must be {_or(codes)}"
        return None if data is ANYTHING or same(heard.error.get("data"), data) else f"data must be {exact.dumps(data).decode()}"

    return _of_one(_or(codes) + (f" {data}" if isinstance(data, str) else ""), judge)


def allowed() -> Expect:
    """CheckPerformTransaction says yes."""
    return _of_one("allow", lambda heard, _: None if _member(heard, "allow") is True else "allow must be true")


def succeeded() -> Expect:
    """SetFiscalData was taken."""
    return _of_one("success", lambda heard, _: None if _member(heard, "success") is True else "success must be true")


def created(slack_ms: int) -> Expect:
    """A transaction in state 1, by a clock that is at most `slack_ms` from ours."""
    return _of_one("state 1", lambda heard, _: _wrong_creation(heard, slack_ms))


def _wrong_creation(heard: Heard, slack_ms: int) -> str | None:
    wrong = _wrong_move(heard, 1, "create_time")
    if wrong is None and abs(heard.result["create_time"] - heard.at_ms) > slack_ms:
        return "create_time is far from the present: is it UTC, in milliseconds?"
    return wrong


def performed(attempt: Attempt) -> Expect:
    """State 2, the number that Create gave, and a time after it."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        return _wrong_move(heard, 2, "perform_time") or _after_creation(heard, memory, attempt, "perform_time")

    return _of_one("state 2", judge)


def cancelled(attempt: Attempt, state: int) -> Expect:
    """State -1 or -2, the number that Create gave, and a time after it."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        return _wrong_move(heard, state, "cancel_time") or _after_creation(heard, memory, attempt, "cancel_time")

    return _of_one(f"state {state}", judge)


def repeats(step: str) -> Expect:
    """The very result of an earlier step."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        if not isinstance(heard.result, dict):
            return "the first answer must be repeated"
        first = memory.result(step)
        differing = sorted(
            name for name in {*first, *heard.result} if not same(first.get(name, ANYTHING), heard.result.get(name, ANYTHING))
        )
        return f"{', '.join(differing)} differs from the first answer" if differing else None

    return _of_one("the first answer again", judge)


def shown(attempt: Attempt, state: int, reason: int | None = None) -> Expect:
    """CheckTransaction with all six members, as the moves of the attempt left them."""
    text = f"state {state}" + ("" if reason is None else f", reason {reason}")
    return _of_one(text, lambda heard, memory: _wrong_facts(heard.result, _SHOWN, facts_of(attempt, memory, state, reason)))


def timed_out(attempt: Attempt, *, maybe: bool = False) -> Expect:
    """CheckTransaction of what its 12 hours ended: -1 with reason 4; with `maybe` it may still stand as created."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        facts = facts_of(attempt, memory, 1, None)
        if maybe and isinstance(heard.result, dict) and same(heard.result.get("state"), 1):
            return _wrong_facts(heard.result, _SHOWN, facts)
        when = heard.result.get("cancel_time") if isinstance(heard.result, dict) else None
        if not _moment(when):
            return "cancel_time must be a time"
        return _wrong_facts(heard.result, _SHOWN, facts | {"state": -1, "reason": 4, "cancel_time": when})

    return _of_one(("state 1, or " if maybe else "") + "state -1, reason 4", judge)


def ended_as_shown(step: str) -> Expect:
    """CancelTransaction answers what an earlier CheckTransaction has shown, and changes nothing."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        facts = {name: memory.result(step).get(name) for name in ("transaction", "cancel_time", "state")}
        return _wrong_facts(heard.result, tuple(facts), facts)

    return _of_one("as it ended", judge)


def another_number(than: str, slack_ms: int) -> Expect:
    """A new transaction, with a number of its own."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        wrong = _wrong_creation(heard, slack_ms)
        if wrong is None and heard.result["transaction"] == memory.result(than).get("transaction"):
            return "transaction must be another one than that of the first attempt"
        return wrong

    return _of_one("state 1", judge)


def facts_of(attempt: Attempt, memory: Memory, state: int, reason: int | None) -> dict[str, Any]:
    """What CheckTransaction must say of an attempt in this state."""
    made = memory.result(attempt.created)
    return {
        "create_time": made.get("create_time"),
        "perform_time": memory.result(attempt.performed).get("perform_time") if abs(state) == 2 else 0,
        "cancel_time": memory.result(attempt.cancelled).get("cancel_time") if state < 0 else 0,
        "transaction": made.get("transaction"),
        "state": state,
        "reason": reason,
    }


def listed(*wanted: tuple[Attempt, int, int | None], between: tuple[int, int], never: Sequence[str] = ()) -> Expect:
    """GetStatement holds each attempt once, in its state and with its reason; in order, in the period, and none of `never`."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        rows = heard.result.get("transactions") if isinstance(heard.result, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return "transactions must be a list of objects"
        wrong = _disorder(rows, *between)
        if wrong is not None:
            return wrong
        if any(row["id"] in never for row in rows):
            return "a transaction is listed whose Create was refused"
        return next(filter(None, (_wrong_row(rows, memory, *one) for one in wanted)), None)

    return _of_one(f"{len(wanted)} of ours, in order", judge)


def nothing_listed() -> Expect:
    """GetStatement of a period without transactions."""
    return _of_one(
        "0 transactions", lambda heard, _: None if same(heard.result, {"transactions": []}) else "the list must be empty"
    )


def all_alike(one: Expect) -> Expect:
    """Several requests at once: each answer as expected, and all the same."""

    def judge(answers: Sequence[Heard], memory: Memory) -> str | None:
        wrong = next(filter(None, (one.judge([heard], memory) for heard in answers)), None)
        if wrong is None and not all(same(heard.result, answers[0].result) for heard in answers):
            return "the answers differ"
        return wrong

    return Expect(f"{one.text}, all alike", judge)


def one_wins(code: int, data: str) -> Expect:
    """Several Creates at once that exclude each other: one transaction, and the others are refused."""
    loses = refused(code, data=data)

    def judge(answers: Sequence[Heard], memory: Memory) -> str | None:
        winners = [heard for heard in answers if not heard.error]
        if len(winners) != 1:
            return f"{len(winners)} of {len(answers)} were created; it must be one"
        others = (loses.judge([heard], memory) for heard in answers if heard.error)
        return _wrong_move(winners[0], 1, "create_time") or next(filter(None, others), None)

    return Expect(f"one state 1, else {code}", judge)


def paid_and_back_or_never() -> Expect:
    """Perform and Cancel at once: either it was performed and given back, or it was cancelled and Perform refused."""

    def judge(answers: Sequence[Heard], memory: Memory) -> str | None:
        performing, cancelling = answers
        if performing.error:
            wrong = refused(-31008).judge([performing], memory)
            return wrong or _wrong_move(cancelling, -1, "cancel_time")
        return _wrong_move(performing, 2, "perform_time") or _wrong_move(cancelling, -2, "cancel_time")

    return Expect("2 and -2, or -31008 and -1", judge)


def as_the_race_ended(race: str) -> Expect:
    """CheckTransaction agrees with what Perform and Cancel, sent at once, were answered."""

    def judge(heard: Heard, memory: Memory) -> str | None:
        performing, cancelling = (one.result or {} for one in memory.heard[race])
        facts = {
            "perform_time": performing.get("perform_time", 0),
            "cancel_time": cancelling.get("cancel_time"),
            "state": cancelling.get("state"),
            "reason": 5,
        }
        return _wrong_facts(heard.result, tuple(facts), facts)

    return _of_one("as both were answered", judge)


def _of_one(text: str, judge: Callable[[Heard, Memory], str | None]) -> Expect:
    def look(answers: Sequence[Heard], memory: Memory) -> str | None:
        (heard,) = answers
        return judge(heard, memory)

    return Expect(text, look)


def _wrong_move(heard: Heard, state: int, moment: Literal["create_time", "perform_time", "cancel_time"]) -> str | None:
    """What is wrong with the answer of Create, Perform or Cancel."""
    if not isinstance(heard.result, dict):
        return f"state must be {state}"
    if not same(heard.result.get("state"), state):
        return f"state must be {state}"
    if not _moment(heard.result.get(moment)):
        return f"{moment} must be an integer of 13 digits"
    number = heard.result.get("transaction")
    return None if isinstance(number, str) and number else "transaction must be a string"


def _after_creation(heard: Heard, memory: Memory, attempt: Attempt, moment: str) -> str | None:
    made = memory.result(attempt.created)
    if heard.result["transaction"] != made.get("transaction"):
        return "transaction differs from that of Create"
    earliest = memory.result(attempt.performed).get("perform_time") or made.get("create_time")
    return f"{moment} is before what happened earlier" if _whole(earliest) and heard.result[moment] < earliest else None


def _wrong_facts(result: Any, names: Sequence[str], facts: Mapping[str, Any]) -> str | None:
    if not isinstance(result, dict):
        return "there must be a result"
    missing = [name for name in names if name not in result]
    if missing:
        return f"{missing[0]} is missing"
    wrong = [name for name in names if not same(result[name], facts[name])]
    return f"{wrong[0]} must be {exact.dumps(facts[wrong[0]]).decode()}" if wrong else None


def _disorder(rows: Sequence[Mapping[str, Any]], begin: int, end: int) -> str | None:
    keys: list[tuple[int, int, str]] = []
    for row in rows:
        when, made, payme_id = row.get("time"), row.get("create_time"), row.get("id")
        if not isinstance(when, int) or not isinstance(made, int) or not isinstance(payme_id, str):
            return "time, create_time or id is missing"
        if not begin <= when <= end:
            return "a transaction of another time is listed"
        keys.append((when, made, payme_id))
    return None if keys == sorted(keys) else "not in the order of time"


def _wrong_row(rows: Sequence[Mapping[str, Any]], memory: Memory, attempt: Attempt, state: int, reason: int | None) -> str | None:
    found = [row for row in rows if row["id"] == attempt.payme_id]
    if len(found) != 1:
        return f"a transaction in state {state} is listed {len(found)} times; it must be once"
    facts = facts_of(attempt, memory, state, reason) | {
        "id": attempt.payme_id,
        "time": attempt.time_ms,
        "amount": attempt.amount,
        "account": dict(attempt.account),
        "receivers": None,
    }
    return _wrong_facts(found[0], _LISTED, facts)


def _member(heard: Heard, name: str) -> Any:
    return heard.result.get(name) if isinstance(heard.result, dict) else None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any) -> bool:
    return _whole(value) and 10**12 <= value < 10**13


def _or(codes: Sequence[int]) -> str:
    return " or ".join(map(str, codes))


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return (type(value).__name__, value)

"""The one way in which every neighbour answers: book under the key, answer the same again, apply the script.

All of it is one transaction of the book, committed before a byte of the answer leaves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.behaviours import BEFORE, fail_before, play_after
from kassa.sandbox.book import log_call, now_us
from kassa.sandbox.model import Act, Call, Played, Reply, Tx, late_us, say
from kassa.sandbox.scripts import take_script

_REPLAYED = (("Idempotent-Replayed", "true"),)
_NEVER_HASHED = {"payment_method"}


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What a key was answered first. Before `ready_us` the call is still worked on."""

    asked: str
    reply: Reply
    ready_us: int


def answer_call(tx: Tx, act: Act, call: Call) -> Played:
    """Answer one call of a neighbour. The same key again: the first answer, and no second effect."""
    call = replace(call, now_us=now_us())
    first = first_answer(tx, act.service, act.name, call.key) if act.keyed else None
    script = take_script(tx, act, call, repeated=first is not None)
    behaviour = script.behaviour if script else None
    if script is not None and script.behaviour in BEFORE:
        reply, cut = fail_before(script, call.asked_key), script.behaviour == "cut"
        call_id = log_call(tx, call, act.service, act.name, behaviour, "cut" if cut else str(reply.status))
        return Played(reply, call_id, cut=cut)
    call = replace(call, script=script)
    reply = _do_once(tx, act, call)
    if behaviour == "answer_twice":
        log_call(tx, call, act.service, act.name, behaviour, str(reply.status))
        reply = _do_once(tx, act, call)
    played = play_after(script, reply, 0)
    answered = "cut" if played.cut else str(played.reply.status)
    return replace(played, call_id=log_call(tx, call, act.service, act.name, behaviour, answered))


def first_answer(tx: Tx, service: str, act: str, key: str | None) -> FirstAnswer | None:
    """What this key was answered first, if it was ever kept."""
    if key is None:
        return None
    row = tx.execute(
        "SELECT asked, status, body, ready_us FROM answers WHERE service = ? AND act = ? AND key = ?",
        (service, act, key),
    ).fetchone()
    return None if row is None else FirstAnswer(row[0], Reply(row[1], bytes(row[2])), row[3])


def _do_once(tx: Tx, act: Act, call: Call) -> Reply:
    if call.raw and call.body is None:
        return say(400, {"status": "failed", "error": "malformed_json", "message": "The body is not JSON"}, keep=False)
    if not act.keyed or call.key is None:
        return _do(tx, act, call)
    asked = _fingerprint(call)
    first = first_answer(tx, act.service, act.name, call.key)
    if first is None:
        return _do_and_keep(tx, act, call, asked)
    if act.same_body and first.asked != asked:
        message = "This key was used for another request"
        return say(422, {"status": "failed", "success": False, "error": "idempotency_key_reused", "message": message})
    if first.ready_us > call.now_us:
        return say(act.busy, {"status": "processing", "key": call.key}, headers=(("Retry-After", "1"),))
    return replace(first.reply, headers=_REPLAYED)


def _do_and_keep(tx: Tx, act: Act, call: Call, asked: str) -> Reply:
    reply = _do(tx, act, call)
    if reply.keep:
        ready = call.now_us + (late_us(call.script) if call.script else 0)
        tx.execute(
            "INSERT INTO answers (service, act, key, asked, status, body, ready_us) VALUES (?,?,?,?,?,?,?)",
            (act.service, act.name, call.key, asked, reply.status, reply.body, ready),
        )
    return reply


def _do(tx: Tx, act: Act, call: Call) -> Reply:
    script = call.script
    if script is not None and script.behaviour == "decline" and act.decline is not None:
        error = script.error or "declined"
        return say(script.status or 422, act.decline(error, script.message or "Declined by the sandbox"))
    return act.do(tx, call)


def _fingerprint(call: Call) -> str:
    """One line for "the same request": path values and body, numbers by value, the card left out."""
    fields = {name: value for name, value in call.fields.items() if name not in _NEVER_HASHED}
    return hashlib.sha256(exact.dumps([_sorted(dict(call.params)), _sorted(fields)])).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value

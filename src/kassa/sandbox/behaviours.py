"""Every way in which a neighbour can go wrong, and what it makes of an answer.

Four kinds. *Before*: nothing is booked. *Verdict*: the neighbour decides otherwise than it would. *After*: the call is
booked as always, and the caller does not get to know it in time, or at all, or in a form it can read. *Calling*: it is
the neighbour that calls.
"""

from __future__ import annotations

from kassa.sandbox import exact
from kassa.sandbox.model import Act, Played, Reply, Script, say

BEFORE = {
    "error": "500, or `status`; nothing booked",
    "cut": "the connection is reset; nothing booked",
    "down": "503 for `times` calls, or for `seconds` from now; nothing booked",
    "redirect": "307, or `status`, to a trap that would say yes; nothing booked",
    "no_route": "404, or `status` (405, 501), as plain text: the neighbour lacks the route",
    "never_seen": "the question by key is answered 404 never_seen, booked or not",
}
VERDICT = {
    "decline": "a clean no with `error` and `message`, as `status`; kept for its key; after `seconds` if given",
    "late": "works for `seconds`, then books and answers; until then the key is in work",
    "clamp": "the stock change stops at zero instead of being refused",
}
AFTER = {
    "book_then_timeout": "booked; silent for `seconds` (120), then the answer",
    "book_then_500": "booked; answered 500, or `status`",
    "book_then_cut": "booked; the connection is reset",
    "garbage": "booked; 200 with JSON that is cut (`form` cut), of somebody else (foreign), or no JSON (html)",
    "answer_twice": "the act is done twice under its key; the answer must be one",
    "trickle": "booked; answered one byte every `seconds` (1)",
    "huge": "booked; an answer of more than 64 KiB",
}
CALLING = {
    "send_twice": "the call is sent twice, one after the other",
    "send_at_once": "the call is sent four times at the same moment",
    "send_late": "the call is sent `seconds` (1) late",
    "hang_up": "the answer is waited for `seconds` (0.01) only, then the call is sent again",
    "not_sent": "the call is not sent, and the click ends there; the next click goes on",
}
"""How calls go wrong that are made by a neighbour, and not by Kassa."""
BEHAVIOURS = BEFORE | VERDICT | AFTER | CALLING

_CALLER = "payme"
_SILENCE_S = 120.0
_GAP_S = 1.0
_HUGE = 70_000


def fits(behaviour: str, act: Act) -> bool:
    """Whether this act can behave like this."""
    if (behaviour in CALLING) != (act.service == _CALLER):
        return False
    if behaviour == "decline":
        return act.decline is not None
    if behaviour == "never_seen":
        return act.name == "by_key"
    if behaviour == "clamp":
        return (act.service, act.name) == ("product", "stock")
    if behaviour == "answer_twice":
        return act.keyed
    return True


def fail_before(script: Script, key: str | None) -> Reply:
    """What a caller sees of a neighbour that did nothing. A cut has a reply too; it is not sent."""
    match script.behaviour:
        case "down":
            return say(script.status or 503, {"error": "down"})
        case "redirect":
            return Reply(script.status or 307, b"", headers=(("location", "/sandbox/trap"),))
        case "no_route":
            return Reply(script.status or 404, b"Not Found", content_type="text/plain; charset=utf-8")
        case "never_seen":
            return say(404, {"status": "never_seen", "key": key})
        case _:
            return say(script.status or 500, {"error": script.error or "internal_error"})


def play_after(script: Script | None, reply: Reply, call_id: int) -> Played:
    """How a booked answer reaches the caller."""
    if script is None:
        return Played(reply, call_id)
    match script.behaviour:
        case "late" | "decline":
            return Played(reply, call_id, wait=script.seconds or 0.0)
        case "book_then_timeout":
            return Played(reply, call_id, wait=_SILENCE_S if script.seconds is None else script.seconds)
        case "book_then_500":
            return Played(say(script.status or 500, {"error": script.error or "internal_error"}), call_id)
        case "book_then_cut":
            return Played(reply, call_id, cut=True)
        case "trickle":
            return Played(reply, call_id, gap=_GAP_S if script.seconds is None else script.seconds)
        case "garbage":
            return Played(_garbage(script.form or "cut", reply), call_id)
        case "huge":
            return Played(_huge(reply), call_id)
        case _:
            return Played(reply, call_id)


def _garbage(form: str, reply: Reply) -> Reply:
    if form == "foreign":
        return say(200, {"weather": "fine", "degrees": 21})
    if form == "html":
        return Reply(200, b"<html><body>It works!</body></html>", content_type="text/html; charset=utf-8")
    return Reply(200, reply.body[: len(reply.body) // 2])


def _huge(reply: Reply) -> Reply:
    padding = b'"padding":' + exact.dumps("x" * _HUGE)
    body = reply.body[:-1] + (b"" if reply.body == b"{}" else b",") + padding + b"}"
    return Reply(reply.status, body, headers=reply.headers)

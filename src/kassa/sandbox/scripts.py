"""Scripts: what the next matching calls are to suffer, in the order in which they were written.

A script is used up by `times` calls (`down` with `seconds` by time instead). A default stands behind all scripts of its
service and is never used up. Both are rows of the book: every process sees them, and a restart does not forget them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.behaviours import BEHAVIOURS, fits
from kassa.sandbox.model import MICROSECONDS, Act, Call, Script, Tx

_MOST_TIMES = 1_000_000
_MOST_SECONDS = 86_400
_FORMS = {"cut", "foreign", "html"}
_MEMBERS = {"service", "act", "behaviour", "times", "seconds", "status", "match", "error", "message", "form"}


class BadScript(ValueError):
    """The script cannot be played. The text says why and is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A script as it was asked for, checked."""

    service: str
    act: str | None
    times: int
    script: dict[str, Any]

    @property
    def seconds(self) -> float | None:
        """How long, or how late: depends on the behaviour."""
        found = self.script.get("seconds")
        return None if found is None else float(found)


def read_script(fields: Mapping[str, Any], acts: Iterable[Act]) -> Wanted:
    """Check what a tester sent; `BadScript` names the first thing that is wrong."""
    unknown = sorted(set(fields) - _MEMBERS)
    if unknown:
        raise BadScript(f"unknown member {unknown[0]}")
    service, act, behaviour = fields.get("service"), fields.get("act"), fields.get("behaviour")
    known = [one for one in acts if one.service == service]
    if not known:
        raise BadScript("service is not one of ours")
    if act is not None and act not in {one.name for one in known}:
        raise BadScript(f"act is not one of {', '.join(one.name for one in known)}")
    if behaviour not in BEHAVIOURS:
        raise BadScript(f"behaviour is not one of {', '.join(BEHAVIOURS)}")
    if not any(fits(behaviour, one) for one in known if act in {None, one.name}):
        raise BadScript("no such act can behave like this")
    script = {name: fields[name] for name in sorted(_MEMBERS - {"service", "act", "times"}) if name in fields}
    _check_numbers(script)
    times = fields.get("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= _MOST_TIMES:
        raise BadScript(f"times is a whole number from 1 to {_MOST_TIMES}")
    return Wanted(str(service), act, times, script)


def add_script(tx: Tx, wanted: Wanted, now: int) -> int:
    """Put a script behind the others of its service. Twice: two scripts."""
    until = None
    if wanted.script["behaviour"] == "down" and wanted.seconds is not None:
        until = now + round(wanted.seconds * MICROSECONDS)
    return _insert(tx, wanted, is_default=0, left=None if until else wanted.times, until=until)


def set_default(tx: Tx, wanted: Wanted) -> int:
    """How this service (or this act of it) behaves when no script is left. Twice: the newer one stands."""
    tx.execute("DELETE FROM scripts WHERE is_default = 1 AND service = ? AND act IS ?", (wanted.service, wanted.act))
    return _insert(tx, wanted, is_default=1, left=None, until=None)


def drop_defaults(tx: Tx, service: str) -> int:
    """The service behaves well again. Answers how many defaults went."""
    return tx.execute("DELETE FROM scripts WHERE is_default = 1 AND service = ?", (service,)).rowcount


def clear_scripts(tx: Tx, service: str | None) -> int:
    """Forget all scripts and defaults, of one service or of all. Answers how many went."""
    return tx.execute("DELETE FROM scripts WHERE ?1 IS NULL OR service = ?1", (service,)).rowcount


def list_scripts(tx: Tx) -> list[dict[str, Any]]:
    """What is still to come, in the order of use; defaults last. A script that is used up is no longer there."""
    rows = tx.execute("SELECT id, service, act, is_default, left_times, script FROM scripts ORDER BY is_default, id").fetchall()
    return [
        {"id": id_, "service": service, "act": act, "default": bool(is_default), "left": left} | exact.loads(script.encode())
        for id_, service, act, is_default, left, script in rows
    ]


def take_script(tx: Tx, act: Act, call: Call, *, repeated: bool) -> Script | None:
    """The first script that this call must suffer, one time of it used up; `None` when it is answered well.

    A repetition of a booked call is never declined: no neighbour takes its own word back.
    """
    rows = tx.execute(
        "SELECT id, left_times, until_us, script FROM scripts"
        " WHERE service = ? AND (act IS NULL OR act = ?) ORDER BY is_default, act IS NULL AND is_default, id",
        (act.service, act.name),
    ).fetchall()
    for id_, left, until, raw in rows:
        if until is not None and until <= call.now_us:
            tx.execute("DELETE FROM scripts WHERE id = ?", (id_,))
            continue
        body = exact.loads(raw.encode())
        behaviour = body["behaviour"]
        if not fits(behaviour, act) or (repeated and behaviour == "decline"):
            continue
        if not _matches(body.get("match", {}), call):
            continue
        if left is not None:
            tx.execute("UPDATE scripts SET left_times = left_times - 1 WHERE id = ?", (id_,))
            tx.execute("DELETE FROM scripts WHERE id = ? AND left_times < 1", (id_,))
        return _script(id_, body)
    return None


def _check_numbers(script: Mapping[str, Any]) -> None:
    seconds = script.get("seconds")
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal):
            raise BadScript("seconds is a number")
        if not 0 <= seconds <= _MOST_SECONDS:
            raise BadScript(f"seconds is from 0 to {_MOST_SECONDS}")
    status = script.get("status")
    if status is not None and (isinstance(status, bool) or status not in {one.value for one in HTTPStatus if one >= 200}):
        raise BadScript("status is not a status of an answer")
    for name in ("error", "message"):
        if not isinstance(script.get(name, ""), str):
            raise BadScript(f"{name} is text")
    if script.get("form", "cut") not in _FORMS:
        raise BadScript(f"form is one of {', '.join(sorted(_FORMS))}")
    match = script.get("match", {})
    if not isinstance(match, dict) or not all(isinstance(one, str | int | Decimal) for one in match.values()):
        raise BadScript("match is an object of text and numbers")


def _insert(tx: Tx, wanted: Wanted, *, is_default: int, left: int | None, until: int | None) -> int:
    found = tx.execute(
        "INSERT INTO scripts (service, act, is_default, left_times, until_us, script) VALUES (?,?,?,?,?,?)",
        (wanted.service, wanted.act, is_default, left, until, exact.dumps(wanted.script).decode()),
    )
    return int(found.lastrowid or 0)


def _script(id_: int, body: Mapping[str, Any]) -> Script:
    seconds = body.get("seconds")
    return Script(
        id=id_,
        behaviour=body["behaviour"],
        seconds=None if seconds is None else float(seconds),
        status=body.get("status"),
        error=body.get("error"),
        message=body.get("message"),
        form=body.get("form"),
    )


def _matches(match: Mapping[str, Any], call: Call) -> bool:
    return all(_holds(name, wanted, call) for name, wanted in match.items())


def _holds(name: str, wanted: Any, call: Call) -> bool:
    if name == "key":
        return str(wanted) in (call.asked_key or "")
    return any(_equal(wanted, one) for one in _traits(name, call))


def _traits(name: str, call: Call) -> list[Any]:
    """Every value of this name in the call: its path, its body, the lines of its body. Never the card."""
    items = call.fields.get("items")
    places = [call.params, call.fields, *(items if isinstance(items, list) else [])]
    found = [place.get(name) for place in places if isinstance(place, Mapping)]
    return [value for value in found if isinstance(value, str | int | Decimal)]


def _equal(wanted: Any, got: Any) -> bool:
    if str(wanted) == str(got):
        return True
    left, right = exact.amount(wanted), exact.amount(got)
    return left is not None and left == right

"""Violations that the playing of faults has found, and what holds them now: the last chapter of `docs/faults.md`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """`fault` is a number of the catalogue; `wrong` says what happened, `holds` which rule, statement or test prevents it now."""

    fault: str
    wrong: str
    holds: str


FOUND: tuple[Found, ...] = (
    Found(
        "F35",
        "two of a hundred requests saw an error for a connection that had broken before anything was written",
        "the first question of a transaction, and whatever is known not to have begun (`Broken`), is done once more over another connection",
    ),
    Found(
        "F40",
        "whoever asked a frozen database waited for it, ten seconds for a connection and without end for an answer",
        "`kit/pulse.py`: after about 0.7 s without a byte everybody is told 503, and whoever comes later at once",
    ),
    Found(
        "F40",
        "a purchase whose first commit was not answered was called not written when the database could not be asked either",
        "`checkout.start` then says that it is not known",
    ),
    Found(
        "F38",
        "several servers could not be named, and one that had become read-only was asked again and again, with a 500 each time",
        "`kit/hosts.py` finds the one that takes writes and never goes back to an older primary; a read-only connection is left",
    ),
    Found(
        "F41",
        "a full disk was answered with 500 and a traceback",
        "what the database refuses for lack of room, memory or a sound disk is 503, with nothing written",
    ),
    Found(
        "F43",
        "every process of the version before said at `/ready` that it was not, as soon as a newer schema was there",
        "a newer schema fits a process that began with an older one",
    ),
    Found(
        "F43",
        "an upgrade was one transaction that held each table until its end, and queued before buyers for up to five seconds",
        "a transaction for each revision; a lock that is not had in 0.7 s is given up and tried again",
    ),
    Found(
        "F57",
        "a process that was told to stop refused connections at once, while balancers still sent them",
        "`DRAIN_S`: `/ready` says no first, and requests are served until balancers have heard of it",
    ),
    Found(
        "F02",
        "five charges that were booked and answered 500 opened the breaker, and nobody asked what had become of them for up to 18 s",
        "when the pause is over one that waits is the probe, and then all are asked at once (decision 0034)",
    ),
    Found(
        "F07",
        "after an outage a charge that was not known waited for its plan: minutes after five minutes, up to an hour after an hour",
        "`checkout/ask_again.py`: when a breaker has closed again, everything that waits is asked at once",
    ),
    Found(
        "F57",
        "a call over gRPC that came in the last moment of a busy server ended CANCELLED, which our client took for a final no",
        "the server gives it two seconds to be told to come again, and the client repeats it under the same key",
    ),
)

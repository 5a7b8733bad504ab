"""Acts at the back office that die: nothing of it happened, or all of it, and the same form sent again is the same act."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import pytest
from tests import rig
from tests.pages.office.hands import Clerk, another_admin, buy, clerk, password_of
from tests.pages.reading import Form

from . import judging, points
from .nursery import Born
from .playing import Town

MOMENTS = points.MOMENTS[points.TRANSACTION]
Prepared = tuple[Clerk, list[tuple[Form, dict[str, str]]]]


def signing_in(server: Born) -> Prepared:
    """The form of the door."""
    somebody = Clerk(server)
    somebody.open("/office/sign-in")
    return somebody, [(somebody.form("/office/sign-in"), {"name": "operator", "password": password_of(server)})]


def signing_out(server: Born) -> Prepared:
    """The button below each page."""
    somebody = clerk(server, "operator")
    somebody.open("/office/sessions")
    return somebody, [(somebody.form("/office/sign-out"), {})]


def asking(server: Born) -> Prepared:
    """A refund above the limit."""
    admin, address = clerk(server, "admin"), f"/office/orders/{buy(server)['order_id']}/refund"
    admin.open(address)
    return admin, [(admin.form(address), {"why": "it was broken"})]


def deciding(server: Born) -> Prepared:
    """Another admin's yes; if that was noted and not carried out, the button that carries it out."""
    admin, forms = asking(server)
    admin.send(forms[0][0], **forms[0][1])
    paper = admin.address
    another_admin(server, "bea")
    bea = clerk(server, "bea")
    bea.open(paper)
    form = bea.form(paper)
    return bea, [(form, {"word": "approve", "why": "seen it"}), (form, {"word": "again"})]


def stocking(server: Born) -> Prepared:
    """Three more mugs."""
    admin, address = clerk(server, "admin"), "/office/products/shop/prod_007/stock"
    admin.open(address)
    return admin, [(admin.form(address), {"change": "3", "why": "found behind the shelf"})]


def sending(server: Born) -> Prepared:
    """A message that was sent, once more."""
    made = buy(server)
    server.sql("UPDATE notices SET status = 'sent', attempts = 1 WHERE order_id = $1::text::uuid", made["order_id"])
    ask = "SELECT event_id::text AS id FROM notices WHERE order_id = $1::text::uuid AND event_type = 'order.paid'"
    [row] = server.sql(ask, made["order_id"])
    staff, address = clerk(server, "operator"), f"/office/notices/{made['order_id']}:{row['id']}/send"
    staff.open(address)
    return staff, [(staff.form(address), {"why": "the buyer did not get it"})]


@dataclass(frozen=True)
class Deed:
    """Forms that `prepare` has opened act in a transaction called `name`; `done` is how often its effect is there.

    `after`: how often it is there when the form was sent again after a death before the commit, and after one behind it.
    """

    name: str
    prepare: Callable[[Born], Prepared]
    done: str
    after: tuple[int, int] = (1, 1)


REFUNDED = "SELECT count(*)::int AS n FROM refunds r, approvals a WHERE r.status = 'succeeded' AND a.status = 'done'"
DEEDS = (
    Deed("staff.sign_in", signing_in, "SELECT count(*)::int AS n FROM staff_sessions", (1, 2)),
    Deed("staff.sign_out", signing_out, "SELECT count(*)::int AS n FROM staff_sessions WHERE ended_at IS NOT NULL"),
    Deed("approvals.ask", asking, "SELECT count(*)::int AS n FROM approvals"),
    Deed("approvals.decide", deciding, "SELECT count(*)::int AS n FROM approvals WHERE decided_by = 'bea'"),
    Deed("approvals.outcome", deciding, "SELECT count(*)::int AS n FROM approvals WHERE outcome = 'succeeded'"),
    Deed("catalog.adjust", stocking, "SELECT count(*)::int AS n FROM stock_journal WHERE reference LIKE 'office:%'"),
    Deed("notices.again", sending, "SELECT coalesce(sum(again), 0)::int AS n FROM notices"),
)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("deed", DEEDS, ids=lambda each: each.name)
def test_a_form_that_dies_did_all_of_it_or_nothing(open_town: Callable[..., Town], deed: Deed, moment: str) -> None:
    town = open_town()
    town.port = rig.free_port()
    town.settings["OFFICE_APPROVAL_ABOVE"] = "INR=1"
    life = town.born("dev")
    try:
        _live_and_die(town, deed, life, moment)
    finally:
        life.stop()  # closes the browsers, which outlive it
    assert judging.breaches(town.dsn, None) == []


def _live_and_die(town: Town, deed: Deed, life: Born, moment: str) -> None:
    who, forms = deed.prepare(life)
    life.kill()
    armed = town.born("serve", f"{deed.name}:{moment}")
    with pytest.raises(httpx2.TransportError):
        who.send(forms[0][0], **forms[0][1])
    assert armed.wait(5) == -signal.SIGKILL
    happened = moment == "after_commit"
    assert town.ask(deed.done)[0]["n"] == int(happened)
    last = town.born("serve")
    for form, typed in forms:
        who.send(form, **typed)
    assert town.ask(deed.done)[0]["n"] == deed.after[happened]
    if deed.prepare is deciding:
        assert town.ask(REFUNDED)[0]["n"] == 1
    last.kill()


def test_every_name_that_only_the_back_office_reaches_is_killed_here() -> None:
    told = {name for name, why in points.NOT_BY_A_STORY.items() if "test_office.py" in why}
    assert told == {deed.name for deed in DEEDS}

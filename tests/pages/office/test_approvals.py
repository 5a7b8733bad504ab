"""Acts above the limit: kept for a second admin, never one's own, one effect however many approve, and over after seven days."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import eventually
from tests.pages.office.hands import Clerk, another_admin, buy, clerk, lines_of, order
from tests.rig import Server

BIG = "507f1f77bcf86cd799439012"
"""A product above the limit."""


@pytest.fixture(scope="module")
def house(start_kassa: StartKassa) -> Server:
    server = start_kassa(OFFICE_APPROVAL_ABOVE="INR=300,USD=10")
    another_admin(server, "bea")
    another_admin(server, "cyd")
    return server


@pytest.fixture(scope="module")
def ana(house: Server) -> Clerk:
    return clerk(house, "admin")


@pytest.fixture(scope="module")
def bea(house: Server) -> Clerk:
    return clerk(house, "bea")


@pytest.fixture(scope="module")
def cyd(house: Server) -> Clerk:
    return clerk(house, "cyd")


def state(house: Server, address: str) -> dict[str, str]:
    [row] = house.sql(
        "SELECT status, outcome, decided_by FROM approvals WHERE approval_id = $1::text::uuid", address.rpartition("/")[2]
    )
    return row


def test_below_the_limit_one_person_is_enough(house: Server, ana: Clerk) -> None:
    bought = buy(house)
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="100", why="half of it")
    assert ana.said == "The money was given back."


def test_refunds_of_one_payment_are_counted_together(house: Server, ana: Clerk) -> None:
    """So a large sum does not go out in small pieces."""
    bought = buy(house, quantity=4)
    address = f"/office/orders/{bought['order_id']}/refund"
    ana.open(address)
    form = ana.form(address)
    for _ in range(2):  # pressed again, it is the same piece
        ana.send(form, amount="200", why="a first piece")
        assert ana.address.startswith("/office/done")
    ana.act(address, amount="150", why="a second piece")
    assert ana.address.startswith("/office/approvals/")
    assert order(house, bought["order_id"])["refunded_minor"] == 20000


def test_above_it_nothing_moves_before_another_admin_says_yes(house: Server, ana: Clerk, bea: Clerk) -> None:
    bought = buy(house, BIG, 1)
    address = f"/office/orders/{bought['order_id']}/refund"
    ana.open(address)
    form = ana.form(address)
    ana.send(form, why="sent back unopened")
    paper = ana.address
    assert paper.startswith("/office/approvals/")
    ana.send(form, why="sent back unopened")
    assert ana.address == paper, "the same form is one approval"
    assert "Another admin must look at this." in ana.page.text
    assert order(house, bought["order_id"])["refunding_minor"] == 0
    mark = ana.form("/office/sign-out").fields["mark"]
    own = ana.client.post(paper, data={"mark": mark, "word": "approve", "why": "my own"})
    assert own.status_code == 422
    assert "Nobody approves what they asked for" in own.text
    bea.open(paper)
    assert "₹99,999.00" in bea.page.text
    bea.press(paper, {"word": "approve", "why": "seen the parcel"})
    assert state(house, paper) == {"status": "done", "outcome": "succeeded", "decided_by": "bea"}
    assert order(house, bought["order_id"])["payment"] == "refunded"
    assert lines_of(house, f"payment:{bought['payment_id']}") == [
        ("admin:admin", "approval.ask", "sent back unopened"),
        ("admin:bea", "approval.approve", "seen the parcel"),
        ("admin:admin", "payment.refund", "sent back unopened"),
    ]


def test_two_admins_who_approve_at_once_are_one_effect(house: Server, ana: Clerk, bea: Clerk, cyd: Clerk) -> None:
    for _ in range(3):
        bought = buy(house, "prod_006", 1)
        ana.act(f"/office/orders/{bought['order_id']}/refund", amount="700", why="a mistake of ours")
        paper = ana.address
        for each in (bea, cyd):
            each.open(paper)
        forms = [(each, each.form(paper)) for each in (bea, cyd)]
        with ThreadPoolExecutor(2) as hands:
            list(hands.map(lambda pair: pair[0].send(pair[1], word="approve", why="yes"), forms))
        eventually(lambda at=paper: state(house, at)["status"] == "done")
        assert state(house, paper)["outcome"] == "succeeded"
        assert order(house, bought["order_id"])["refunded_minor"] == 70000
        told = [act for _, act, _ in lines_of(house, f"payment:{bought['payment_id']}")]
        assert told == ["approval.ask", "approval.approve", "payment.refund"]


def test_a_yes_that_was_cut_off_is_carried_out_by_the_button_once(house: Server, ana: Clerk, bea: Clerk) -> None:
    """As after a crash between the yes and the act, and after one between the act and its note."""
    bought = buy(house, "prod_006", 1)
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="800", why="a mistake of ours")
    paper = ana.address
    number = paper.rpartition("/")[2]
    house.sql(
        "UPDATE approvals SET status = 'approved', decided_by = 'cyd', decided_why = 'yes', decided_at = kassa_now() WHERE approval_id = $1::text::uuid",
        number,
    )
    for _ in range(2):
        bea.open(paper)
        bea.press(paper, {"word": "again"})
        assert state(house, paper)["outcome"] == "succeeded"
        assert order(house, bought["order_id"])["refunded_minor"] == 80000
        house.sql("UPDATE approvals SET status = 'approved', outcome = NULL WHERE approval_id = $1::text::uuid", number)
    assert [act for _, act, _ in lines_of(house, f"payment:{bought['payment_id']}")].count("payment.refund") == 1


def test_a_no_ends_it_and_a_later_yes_changes_nothing(house: Server, ana: Clerk, bea: Clerk, cyd: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    ana.act(f"/office/orders/{bought['order_id']}/cancel", why="a mistake")
    paper = ana.address
    cyd.open(paper)
    late = cyd.form(paper)
    bea.open(paper)
    bea.press(paper, {"word": "reject", "why": "it was shipped"})
    assert state(house, paper)["status"] == "rejected"
    cyd.send(late, word="approve", why="yes")
    assert (cyd.status, "decided already" in cyd.said) == (422, True)
    assert order(house, bought["order_id"])["status"] == "paid"


def test_what_is_not_possible_any_more_fails_and_says_so(house: Server, ana: Clerk, bea: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="1499", why="all of it")
    paper = ana.address
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="5", why="a little")
    bea.open(paper)
    bea.press(paper, {"word": "approve", "why": "yes"})
    assert state(house, paper)["status"] == "failed"
    assert state(house, paper)["outcome"] == "refund_exceeds_captured"
    assert order(house, bought["order_id"])["refunded_minor"] == 500


def test_what_nobody_decides_in_seven_days_is_over(house: Server, ana: Clerk, bea: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="900", why="too slow")
    paper = ana.address
    bea.open(paper)
    form = bea.form(paper)
    house.sql("UPDATE approvals SET expires_at = kassa_now() WHERE approval_id = $1::text::uuid", paper.rpartition("/")[2])
    bea.send(form, word="approve", why="at last")
    assert bea.status == 422
    assert "expired" in bea.page.text
    assert order(house, bought["order_id"])["refunded_minor"] == 0


def test_staff_see_what_waits_and_decide_nothing(house: Server, ana: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    ana.act(f"/office/orders/{bought['order_id']}/refund", amount="600", why="for the list")
    paper = ana.address
    operator = clerk(house, "operator")
    operator.open(paper)
    assert operator.status == 200
    assert not [form for form in operator.page.forms if form.action == paper]
    mark = operator.form("/office/sign-out").fields["mark"]
    assert operator.client.post(paper, data={"mark": mark, "word": "approve", "why": "yes"}).status_code == 403
    assert state(house, paper)["status"] == "pending"


def test_an_admin_cannot_be_two_persons(house: Server, ana: Clerk) -> None:
    """Neither by an account that they make, nor by one whose password they change."""
    ana.open("/office/people")
    new = {"name": "anna", "email": "anna@example.com", "role": "admin", "password": "a second self of mine", "why": "a colleague"}
    ana.press("/office/people", new)
    assert (ana.status, "kassa staff" in ana.said) == (422, True)
    ana.open("/office/people")
    ana.follow("bea")
    form = next(each for each in ana.page.forms if "password" in each.fields)
    ana.send(form, password="a second self of mine", why="she forgot it", word="password")
    assert (ana.status, "kassa staff" in ana.said) == (422, True)
    assert clerk(house, "bea").address == "/office"


def test_many_small_refunds_at_once_do_not_pass_the_limit_together(house: Server, ana: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    address = f"/office/orders/{bought['order_id']}/refund"
    forms = []
    for _ in range(6):
        ana.open(address)
        forms.append(ana.form(address).fields | {"amount": "100", "why": "a little"})
    with ThreadPoolExecutor(6) as hands:
        answers = list(hands.map(lambda sent: ana.client.post(address, data=sent, follow_redirects=False), forms))
    assert {answer.status_code for answer in answers} == {303}
    led = [answer.headers["location"].split("?")[0].rpartition("/")[0] for answer in answers]
    assert (led.count("/office"), led.count("/office/approvals")) == (3, 3)
    assert order(house, bought["order_id"])["refunded_minor"] == 30000


def test_a_form_that_waits_is_not_sent_again_with_another_sum(house: Server, ana: Clerk) -> None:
    bought = buy(house, "prod_006", 1)
    address = f"/office/orders/{bought['order_id']}/refund"
    ana.open(address)
    form = ana.form(address)
    ana.send(form, amount="600", why="a mistake of ours")
    ana.send(form, amount="700", why="a mistake of ours")
    assert (ana.status, "sent before with other values" in ana.said) == (422, True)
    assert ana.form(address).fields["once"] != form.fields["once"]

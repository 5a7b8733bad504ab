"""What happens when a payment times out? Each test's name is an answer; `docs/flows/payment-timeout.md` tells it in one go.

The neighbours are the sandbox's stand-ins where one behaviour for everybody is enough, and those of
`contracts/checkout/neighbours.py` where each buyer needs another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest
from tests.contracts.checkout.journeys import (
    Json,
    Shop,
    a_key,
    at_once,
    buy,
    id_of,
    line,
    look,
    order_form,
    someone_signed_in,
    stock_of,
    the_end,
    until,
    visitor,
)
from tests.contracts.checkout.neighbours import HONEST, Neighbours, cuts, says, thinks
from tests.contracts.checkout.town import Story, Town, the_books_are_in_order

if TYPE_CHECKING:
    from tests.conftest import StartKassa, StartSandbox
    from tests.rig import Sandbox, Server


# With the sandbox: every kind of silence, one buyer each


@dataclass(frozen=True)
class Told:
    """One buyer's first answer, how it ended, and the sandbox's book after that."""

    answer: httpx2.Response
    took: float
    end: Json
    book: Any

    def booked(self, kind: str) -> int:
        """How many rows of this kind the book holds for this checkout."""
        return sum(row["key"].startswith(id_of(self.answer)) for row in self.book[kind])

    def asked(self, act: str) -> list[str]:
        """The keys of this checkout's calls of one act."""
        return [call["key"] for call in self.book["calls"] if call["act"] == act and call["key"].startswith(id_of(self.answer))]


def tell(shop: Shop, sandbox: Sandbox, form: Json) -> Told:
    with visitor(shop) as guest:
        start = time.monotonic()
        answer = buy(guest, form)
        took = time.monotonic() - start
        end = the_end(guest, id_of(answer), within=45)
    return Told(answer, took, end, sandbox.book())


SILENCES: Final[dict[str, dict[str, Any]]] = {
    "late": {"seconds": 12},
    "book_then_timeout": {"seconds": 30},
    "trickle": {"seconds": 1},
    "book_then_500": {},
    "book_then_cut": {},
    "cut": {},
    "error": {"status": 500},
    "garbage": {},
    "huge": {},
    "redirect": {},
    "answer_twice": {},
}


@pytest.fixture(scope="module")
def _waits(start_kassa: StartKassa, start_sandbox: StartSandbox, town: Town) -> tuple[dict[str, Told], Cancelled, Story]:
    """One buyer per silence, a slow no, one whose payment cannot be asked for, one who cancels: all at the same time."""
    sandbox = start_sandbox()
    shop = start_kassa(**sandbox.settings("payment"))
    forms = {name: order_form() for name in SILENCES}
    forms["a slow no"] = order_form(line("prod_008", 1))
    for name, form in forms.items():
        behaviour, options = ("decline", {"seconds": 12}) if name == "a slow no" else (name, SILENCES[name])
        sandbox.script("payment", "process", behaviour, match={"customer_email": form["customer_email"]}, **options)

    def at_its_time(place: int, name: str) -> Told:
        time.sleep(place * 0.3)
        if place % 2:  # somebody whom all goes well for: silences in a row would open the breaker
            assert tell(shop, sandbox, order_form(line("prod_011"))).end["status"] == "completed"
        return tell(shop, sandbox, forms[name])

    def stock_is_held() -> None:
        until(lambda: stock_of(shop, "prod_008") == 999, 8, "what may be paid stays reserved")

    names = ["a slow no", *SILENCES]
    buyers: list[Any] = [lambda place=place, name=name: at_its_time(place, name) for place, name in enumerate(names)]
    mute: dict[str, Any] = {"process": cuts(books=True), "by_key": says(404, b"<html>Not Found</html>")}
    others = [lambda: cancel_in_the_dark(town), lambda: town.play(**mute), stock_is_held]
    *found, cancelled, mute_story, _ = at_once([*buyers, *others])
    assert stock_of(shop, "prod_008") == 1000, "a slow no gives the stock back"
    return dict(zip(names, found, strict=True)), cancelled, mute_story


@pytest.fixture(scope="module")
def stories(_waits: tuple[dict[str, Told], Cancelled, Story]) -> dict[str, Told]:
    return _waits[0]


@pytest.fixture(scope="module")
def cancelled(_waits: tuple[dict[str, Told], Cancelled, Story]) -> Cancelled:
    return _waits[1]


@pytest.fixture(scope="module")
def mute(_waits: tuple[dict[str, Told], Cancelled, Story]) -> Story:
    return _waits[2]


@pytest.mark.parametrize("silence", SILENCES)
def test_a_slow_yes_still_becomes_an_order(stories: dict[str, Told], silence: str) -> None:
    story = stories[silence]
    assert story.end["status"] == "completed"
    assert (story.booked("charges"), story.booked("refunds")) == (1, 0)
    assert set(story.asked("process")) == {f"{id_of(story.answer)}:payment"}


@pytest.mark.parametrize("silence", ["late", "book_then_timeout", "trickle"])
def test_after_ten_seconds_the_buyer_is_told_where_to_look(stories: dict[str, Told], silence: str) -> None:
    story = stories[silence]
    assert story.answer.status_code == 202, story.answer.text
    assert story.answer.headers["Location"] == f"/checkout/{id_of(story.answer)}"
    assert 9 <= story.took <= 12


@pytest.mark.parametrize("silence", ["book_then_500", "book_then_cut", "cut", "error", "garbage", "huge", "redirect"])
def test_a_broken_answer_costs_the_buyer_no_time(stories: dict[str, Told], silence: str) -> None:
    story = stories[silence]
    assert story.answer.status_code == 200, story.answer.text
    assert story.took < 5


def test_a_redirect_is_not_followed(stories: dict[str, Told]) -> None:
    assert [call for call in stories["redirect"].book["calls"] if call["service"] == "trap"] == []


def test_a_slow_no_gives_the_stock_back(stories: dict[str, Told]) -> None:
    story = stories["a slow no"]
    assert story.answer.status_code == 202, story.answer.text
    assert story.end["status"] == "failed"
    assert story.booked("charges") == 0


def test_silence_is_asked_again_then_parked(mute: Story) -> None:
    assert mute.answer.status_code == 202, mute.answer.text
    assert mute.outcome == ("parked", 1, 0)
    assert mute.acts == ["process", *["by_key"] * 5]


def test_two_yeses_are_one_order(stories: dict[str, Told]) -> None:
    """The answer comes twice in one story; in the other by question first, and then from the slow call."""
    for silence in ("answer_twice", "late"):
        story = stories[silence]
        assert story.end["status"] == "completed"
        assert [step["step"] for step in story.end["steps"]] == ["stock", "payment", "order"]
        assert story.booked("charges") == 1


# With neighbours that know each buyer


@pytest.fixture(scope="module")
def neighbours() -> Iterator[Neighbours]:
    three = Neighbours()
    yield three
    three.stop()


@pytest.fixture(scope="module")
def fragile(start_kassa: StartKassa, neighbours: Neighbours) -> Server:
    """The Kassa of the town, as a process that can be killed."""
    return start_kassa(**neighbours.settings())


@pytest.fixture(scope="module")
def town(fragile: Server, neighbours: Neighbours) -> Town:
    return Town(fragile, neighbours)


@dataclass(frozen=True)
class Cancelled:
    """A buyer who cancels while nobody knows whether the money moved (ruling 14)."""

    checkout_id: str
    meanwhile: Json
    answer: httpx2.Response
    refunded: bool
    end: Json
    order: Json


def cancel_in_the_dark(town: Town) -> Cancelled:
    form = order_form()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(15), by_key=[says(202), says(202), HONEST])
    with visitor(town.shop, town.shop.token(someone_signed_in())) as buyer:
        checkout_id = id_of(buy(buyer, form))
        (order,) = buyer.get("/api/orders").json()["data"]["orders"]
        answer = buyer.put(f"/api/orders/{order['id']}/status", json={"status": "cancelled"})
        refunded = until(lambda: town.neighbours.done(checkout_id, "refund"), 20, "the late yes is refunded") == 1
        end = the_end(buyer, checkout_id)
        seen = buyer.get(f"/api/orders/{order['id']}").json()["data"]
    return Cancelled(checkout_id, order, answer, refunded, end, seen)


def test_a_yes_after_we_gave_up_is_refunded(cancelled: Cancelled, town: Town) -> None:
    assert (cancelled.meanwhile["status"], cancelled.meanwhile["paymentStatus"]) == ("pending", "pending")
    assert cancelled.answer.status_code == 200, cancelled.answer.text
    assert cancelled.refunded
    assert cancelled.end["status"] == "failed"
    assert cancelled.order["status"] == "cancelled"
    assert town.neighbours.net(cancelled.checkout_id) == 0
    assert town.neighbours.done(cancelled.checkout_id, "create") == 0


# A crash


def bought_in_the_end(shop: Shop, form: Json, key: str) -> httpx2.Response:
    """Press the button under the same key until there is a final answer, as a client does that lost its connection."""

    def pressed() -> httpx2.Response | None:
        try:
            with visitor(shop) as guest:
                answer = buy(guest, form, key)
        except httpx2.TransportError:
            return None
        return answer if answer.status_code in {200, 422} else None

    return until(pressed, 60, "a final answer under the same key")


@pytest.mark.usefixtures("_waits")  # nobody else is under way when the power is cut
def test_a_crash_between_call_and_note_loses_nothing(fragile: Server, neighbours: Neighbours) -> None:
    """Thirty buyers stand at every point of the way when the process is killed; each ends charged once or not at all."""
    forms = [order_form(line("prod_011")) for _ in range(30)]
    keys = [a_key() for _ in forms]
    for form in forms:
        neighbours.for_buyer(form["customer_email"], process=thinks(0.3), deduct=thinks(0.2), create=thinks(0.2))

    def buyer(place: int) -> httpx2.Response:
        time.sleep(place * 0.03)
        return bought_in_the_end(fragile, forms[place], keys[place])

    def power_cut() -> None:
        time.sleep(0.92)
        fragile.kill()
        fragile.start()

    buyers: list[Any] = [lambda place=place: buyer(place) for place in range(len(forms))]
    answers: list[httpx2.Response] = at_once([power_cut, *buyers])[1:]
    for form, answer in zip(forms, answers, strict=True):
        checkout_id = id_of(answer)
        assert neighbours.checkouts_of(form["customer_email"]) in ([checkout_id], []), "one key, one checkout"
        with visitor(fragile) as guest:
            end = look(guest, checkout_id)
        bought = answer.status_code == 200
        assert end["status"] == ("completed" if bought else "failed"), answer.text
        assert neighbours.done(checkout_id, "process") - neighbours.done(checkout_id, "refund") == bought
        assert neighbours.done(checkout_id, "deduct") - neighbours.done(checkout_id, "restock") == bought
        assert neighbours.done(checkout_id, "create") - neighbours.done(checkout_id, "cancel") == bought
        sent = [call.key for call in neighbours.calls(checkout_id, "process")]
        assert sent in ([f"{checkout_id}:payment"], []), "never sent after a restart: the card is gone"
    assert sum(answer.status_code == 200 for answer in answers) >= 15
    the_books_are_in_order(fragile)


@pytest.mark.usefixtures("_waits")
def test_what_was_answered_before_a_crash_is_answered_after_it(fragile: Server) -> None:
    key, form = a_key(), order_form()
    with visitor(fragile) as guest:
        first = buy(guest, form, key)
    assert first.status_code == 200, first.text
    fragile.kill()
    fragile.start()
    with visitor(fragile) as guest:
        second = buy(guest, form, key)
        assert look(guest, id_of(first))["status"] == "completed"
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"

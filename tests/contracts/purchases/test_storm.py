"""Buyers who cannot make up their minds while Payme calls: whatever the order, nobody pays twice and no row is lost."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx2

from .journeys import Buyer, Json, Shop, a_transaction, good

BUYERS, HANDS, ACTS = 3, 4, 15
CALM = {200, 201, 204, 400, 404, 409}
TEMPORARY = -32400


@dataclass
class Story:
    """One buyer, the ambassadors in question, the links that were given out and Payme's attempts to use them."""

    shop: Shop
    buyer: Buyer
    hired: list[int]
    links: dict[str, Json] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def note(self, answer: httpx2.Response) -> httpx2.Response:
        self.statuses[answer.status_code] += 1
        return answer

    def act(self, dice: random.Random) -> None:
        """Something that a buyer or Payme may do now."""
        ambassador = dice.choice(self.hired)
        match dice.randrange(8):
            case 0 | 1:
                self.note(self.buyer.put(ambassador))
            case 2:
                self.note(self.buyer.drop(ambassador))
            case 3 | 4:
                answer = self.note(self.buyer.check_out())
                if answer.status_code == 201:
                    self.links[answer.json()["purchase_id"]] = answer.json()
            case 5 if self.links:
                purchase, attempt = dice.choice(list(self.links.values())), a_transaction()
                order = self.shop.payme.order(purchase)
                if self.heard(self.shop.payme.call("CreateTransaction", id=attempt, time=self.shop.payme.clock(), **order)):
                    self.attempts.append(attempt)
            case 6 if self.attempts:
                self.heard(self.shop.payme.call("PerformTransaction", id=dice.choice(self.attempts)))
            case 7 if self.attempts:
                self.heard(self.shop.payme.call("CancelTransaction", id=dice.choice(self.attempts), reason=5))
            case _:
                self.note(self.buyer.send("GET", "/cart"))

    def heard(self, said: Json) -> bool:
        """Whether Payme got a result. A temporary failure is never the answer to a quiet database."""
        if "error" in said:
            assert said["error"]["code"] != TEMPORARY, said
        return "result" in said

    def paid(self) -> set[str]:
        """The purchases that are paid and not given back, as Payme knows it."""
        said = self.shop.payme.result("GetStatement", **{"from": 0, "to": 10**13})["transactions"]
        mine = [entry for entry in said if entry["account"]["order_id"] in self.links]
        counted = Counter(entry["account"]["order_id"] for entry in mine if entry["state"] in {1, 2})
        assert not counted or max(counted.values()) == 1, "two attempts hold one purchase"
        return {entry["account"]["order_id"] for entry in mine if entry["state"] == 2}


def test_a_storm_leaves_one_truth(house: Shop) -> None:
    stories = [Story(house, house.buyer(), [1, 4]) for _ in range(BUYERS)]

    def play(hand: int) -> None:
        dice = random.Random(hand)
        for _ in range(ACTS):
            stories[hand % BUYERS].act(dice)

    with ThreadPoolExecutor(BUYERS * HANDS) as hands:
        list(hands.map(play, range(BUYERS * HANDS)))
    for story in stories:
        assert set(story.statuses) <= CALM, story.statuses
        paid = story.paid()
        shown = story.buyer.purchases(limit=100)
        assert sum(row["price_paid"] for row in shown["purchases"]) == sum(story.links[one]["amount"] for one in paid)
        for purchase in story.links.values():
            assert (house.status(purchase) == "completed") == (purchase["purchase_id"] in paid)
        open_links = [one for one in story.links.values() if house.payme.allows(one)]
        assert len(open_links) <= 1  # at most the latest purchase can still be begun
        story.buyer.put(story.hired[0])
        last = good(story.buyer.check_out(), 201)
        assert last["amount"] == story.buyer.cart()["total"]
    house.is_well()
    house.books_agree()

"""The history: one row per ambassador of each paid purchase that was not given back (section 7)."""

from __future__ import annotations

from .journeys import PURCHASE, Buyer, Shop


def test_one_row_per_ambassador_at_its_frozen_price(shop: Shop, buyer: Buyer) -> None:
    one, two, three = shop.agency.hire(5000000, 2500000, 1)
    purchase = buyer.buy(one, two, three)
    transaction = shop.payme.create(purchase)
    performed = shop.payme.perform(transaction)["perform_time"]
    listed = buyer.purchases()
    assert listed["total"] == 3
    rows = listed["purchases"]
    assert all(set(row) == PURCHASE for row in rows)
    assert {row["ambassador_id"]: row["price_paid"] for row in rows} == {one: 5000000, two: 2500000, three: 1}
    assert sum(row["price_paid"] for row in rows) == purchase["amount"]
    assert {row["user_id"] for row in rows} == {buyer.user}
    [moment] = {row["created_at"] for row in rows}
    [shown] = shop.server.sql("SELECT (extract(epoch FROM $1::text::timestamptz) * 1000)::numeric AS ms", moment)
    assert abs(float(shown["ms"]) - performed) <= 1  # the moment of Perform


def test_newest_first_then_by_id(shop: Shop, buyer: Buyer) -> None:
    hired = shop.agency.hire(1, 2, 3, 4, 5, 6)
    for pair in (hired[:2], hired[2:4], hired[4:]):
        shop.payme.pay(buyer.buy(*pair))
    rows = buyer.purchases()["purchases"]
    keys = [(row["created_at"], row["id"]) for row in rows]
    assert keys == sorted(keys, reverse=True)
    assert [{row["ambassador_id"] for row in rows[at : at + 2]} for at in (0, 2, 4)] == [
        set(hired[4:]),
        set(hired[2:4]),
        set(hired[:2]),
    ]
    assert len({row["id"] for row in rows}) == 6


def test_pages(shop: Shop, buyer: Buyer) -> None:
    for start in range(3):
        shop.payme.pay(buyer.buy(*shop.agency.hire(*range(1 + start, 9 + start))))
    everything = buyer.purchases(limit=100)
    assert (len(everything["purchases"]), everything["total"]) == (24, 24)
    assert buyer.purchases()["purchases"] == everything["purchases"][:20]  # 20 unless told otherwise
    assert buyer.purchases() == buyer.purchases(page=1, limit=20)
    by_sevens = [buyer.purchases(page=page, limit=7) for page in (1, 2, 3, 4)]
    assert [row for page in by_sevens for row in page["purchases"]] == everything["purchases"]
    assert [len(page["purchases"]) for page in by_sevens] == [7, 7, 7, 3]
    assert {page["total"] for page in by_sevens} == {24}
    for past in (5, 1000000, 2147483647):
        assert buyer.purchases(page=past, limit=7) == {"purchases": [], "total": 24}
    assert buyer.purchases(page=2147483647, limit=100) == {"purchases": [], "total": 24}
    assert buyer.purchases(limit=1, page=24)["purchases"] == everything["purchases"][-1:]


def test_only_what_is_paid_and_kept_is_listed(shop: Shop, buyer: Buyer) -> None:
    waiting, held, dropped, paid, returned = shop.agency.hire(1, 2, 3, 4, 5)
    shop.payme.pay(buyer.buy(paid))
    given_back = shop.payme.pay(buyer.buy(returned))
    shop.payme.cancel(given_back, 5)
    shop.payme.cancel(shop.payme.create(buyer.buy(dropped)))
    holding = buyer.buy(held)
    shop.payme.create(holding)
    buyer.buy(waiting)
    assert buyer.owns() == [paid]
    assert buyer.purchases()["total"] == 1


def test_the_same_ambassador_twice_is_two_rows(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    shop.payme.pay(buyer.buy(ambassador))
    shop.agency.prices[ambassador] = 300
    shop.payme.pay(buyer.buy(ambassador))
    assert [row["price_paid"] for row in buyer.purchases()["purchases"]] == [300, 100]

"""What ambassadors cost a moment ago, remembered by this process; only for showing a cart, nothing is sold by it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import monotonic
from typing import Final, NamedTuple

KEPT_S: Final = 5.0
MOST_KEPT: Final = 10_000


class _Known(NamedTuple):
    """What was answered to a question of `asked_at`; the price is None if the ambassador was invalid."""

    asked_at: float
    price: int | None


class RecentPrices:
    """Prices in minor units by ambassador, and which ambassadors were invalid; at most `MOST_KEPT` of both together."""

    def __init__(self) -> None:
        self._kept: dict[int, _Known] = {}

    def note(self, asked: Collection[int], prices: Mapping[int, int], asked_at: float) -> None:
        """Remember what was answered to a question of `asked_at` (seconds of `time.monotonic`); a later one's answer stays."""
        for ambassador_id in asked:
            known = self._kept.get(ambassador_id)
            if known is None or known.asked_at <= asked_at:
                self._kept.pop(ambassador_id, None)
                self._kept[ambassador_id] = _Known(asked_at, prices.get(ambassador_id))
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def of(self, ambassador_ids: Collection[int]) -> Mapping[int, int] | None:
        """The prices of those that were valid; None if one of them was not asked about in the last 5 s."""
        since = monotonic() - KEPT_S
        prices: dict[int, int] = {}
        for ambassador_id in ambassador_ids:
            known = self._kept.get(ambassador_id)
            if known is None or known.asked_at < since:
                return None
            if known.price is not None:
                prices[ambassador_id] = known.price
        return prices

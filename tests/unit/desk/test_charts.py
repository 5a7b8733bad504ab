"""Bars of two days beside each other."""

from __future__ import annotations

from kassa.pages.office import charts


def day(**values: int) -> list[tuple[int, str]]:
    return [(values.get(f"h{hour}", 0), f"{hour}") for hour in range(24)]


def test_heights_are_parts_of_the_highest_of_both_days() -> None:
    chart = charts.hours(day(h9=50, h10=1), day(h9=100))
    heights = {(bar.kind, bar.title): bar.height for bar in chart.bars}
    assert heights[("before", "9")] == 2 * heights[("now", "9")]
    assert heights[("now", "10")] == 2, "what is there is seen"
    assert len(chart.bars) == 3, "what is nothing is not drawn"


def test_bars_stay_in_their_field() -> None:
    chart = charts.hours(day(h0=10**17, h23=10**17), day(h23=1))
    for bar in chart.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= chart.width
        assert bar.y >= 0
        assert bar.y + bar.height == chart.height


def test_a_day_without_money_has_no_bars() -> None:
    assert charts.hours(day(), day()).bars == []
    assert charts.share(0, 0) == 0
    assert charts.share(1, 10**9) == 1

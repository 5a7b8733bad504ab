"""The page on scaling shows what the simulation says, and the simulation is the same everywhere."""

from __future__ import annotations

import itertools

from bench import sharding


def test_the_page_shows_what_the_simulation_says() -> None:
    page = sharding.PAGE.read_text()
    assert "| 1 / n^1.0 | 16 |" in page
    assert sharding.written(page) == page, "run `.venv/bin/python -m bench.sharding --write`"


def test_nothing_is_lost_or_doubled_by_any_placement() -> None:
    for skew in sharding.SKEWS:
        shares = sharding.sizes(skew, 2000)
        assert abs(sum(shares) - 1) < 1e-9
        for name, spread in sharding.PLACEMENTS.items():
            assert abs(sum(spread(shares, 16)) - 1) < 1e-9, name


def test_each_remedy_is_at_least_as_good_as_the_one_before() -> None:
    for skew in sharding.SKEWS:
        shares = sharding.sizes(skew)
        for nodes in sharding.NODES:
            fullest = [sharding.load(shares, nodes, spread).used for spread in sharding.PLACEMENTS.values()]
            assert all(after <= before + 0.02 for before, after in itertools.pairwise(fullest)), (skew, nodes)


def test_even_merchants_fill_servers_evenly() -> None:
    even = [1 / 20_000] * 20_000
    assert sharding.load(even, 4, sharding.rebalanced).above < 1.01


def test_a_server_that_gets_more_than_it_can_is_called_full() -> None:
    assert sharding.load([0.9, 0.1], 64, sharding.by_hash).p99_ms is None
    assert sharding.load([0.5, 0.5], 2, lambda *_: [0.5, 0.5]).p99_ms is not None

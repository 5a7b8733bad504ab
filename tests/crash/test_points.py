"""No kill point is forgotten: what stands in the source and what the stories die at are the same."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from . import points
from .playing import Town
from .test_kill_points import CHAPTERS


def told() -> dict[str, list[str]]:
    """Point to the stories that die there, or whoever takes them up (the `#2` of a second time left out)."""
    found: dict[str, list[str]] = {}
    for title, contents in CHAPTERS.items():
        for story in contents.stories:
            for point in story.points:
                found.setdefault(point.partition("#")[0], []).append(f"{title}: {story.name}")
        for point in contents.again:
            found.setdefault(point.partition("#")[0], []).append(f"{title}: taking up")
    return found


def in_source() -> set[str]:
    return {
        point
        for kind, names in points.names_in_source().items()
        for name in names - set(points.NOT_BY_A_STORY)
        for point in points.points_of(kind, name)
    }


def test_every_point_in_the_source_has_a_story_that_dies_there() -> None:
    assert in_source() - set(told()) == set()


def test_every_story_dies_at_points_that_are_in_the_source() -> None:
    assert set(told()) - in_source() == set()


def test_names_without_a_story_are_in_the_source() -> None:
    assert set(points.NOT_BY_A_STORY) <= set().union(*points.names_in_source().values())


@pytest.mark.parametrize("moment", points.MOMENTS[points.TRANSACTION])
def test_a_start_that_dies_while_it_loads_the_demo_shop(open_town: Callable[..., Town], moment: str) -> None:
    town = open_town()
    sold = "SELECT count(*)::int AS n, sum(available)::int AS pieces FROM products LEFT JOIN stock_levels USING (merchant_id, channel, product_id)"
    (before,) = town.ask(sold)
    theirs = ("api_key_hashes", "api_keys", "subscriptions", "plans", "routes")
    for table in ("stock_journal", "stock_levels", "products", "channels", *theirs, "merchants"):
        town.ask(f"DELETE FROM {table}")
    server = town.born("dev", f"seed:{moment}")
    assert server.wait(5) == -signal.SIGKILL
    assert town.ask(sold)[0]["n"] == (0 if moment == "before_commit" else before["n"])
    town.born("dev")
    assert town.ask(sold) == [before]

"""`python -m tests.histories --seconds 60 --seed 1`: play histories, say how many, and show the shortest that fails."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter

from tests.histories.many import Played, names, play_many, told
from tests.histories.play import play
from tests.histories.strangers import ACTS, words_for


def _of(given: tuple[str, float, int]) -> Played:
    seed, seconds, length = given
    return play_many(seed, seconds=seconds, length=length)


def main() -> int:
    """Returns 1 when a history fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play")
    parser.add_argument("--seed", default="1", help="the same seed gives the same histories")
    parser.add_argument("--length", type=int, default=14, help="steps of each history")
    parser.add_argument("--jobs", type=int, default=1, help="processes; each plays histories of its own")
    parser.add_argument("--one", type=int, help="play and tell the one history with this number")
    given = parser.parse_args()
    if given.one is not None:
        name, kind, steps = next(each for number, each in enumerate(names(given.seed, given.length)) if number == given.one)
        outcome = play(name, kind, steps)
        print(told(outcome))
        return int(bool(outcome.wrong))
    seeds = [given.seed if given.jobs == 1 else f"{given.seed}.{job}" for job in range(given.jobs)]
    work = [(seed, given.seconds, given.length) for seed in seeds]
    if given.jobs == 1:
        found = [_of(work[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
            found = pool.map(_of, work)
    count: Counter[str] = sum((each.count for each in found), Counter())
    minute, own = sum(each.a_minute for each in found), sum(each.an_own_minute for each in found)
    print(f"{sum(each.histories for each in found)} histories, {minute} a minute, {own} a minute of the processor's time")
    for title, keys in (
        ("steps", sorted(key for key in count if key.startswith("step "))),
        ("calls that arrived", [act for act in ACTS if count[act]]),
        ("misfortunes", ["crash", "freeze", "cut", *(f"{act} {word}" for act in ACTS for word in words_for(act))]),
        ("moves", sorted(key for key in count if " → " in key)),
    ):
        print(f"{title}: " + ", ".join(f"{key.removeprefix('step ')} {count[key]}" for key in keys if count[key]))
    failed = [each for each in found if each.failed is not None]
    for each in failed:
        assert each.failed is not None
        print(f"\n{told(each.failed)}\n({each.before} steps before it was shortened)")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

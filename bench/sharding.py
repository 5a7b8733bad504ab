"""Merchants of very different sizes on servers that share them by hash: who gets too much, and what helps.

`python -m bench.sharding` prints the tables of docs/scaling.md in a few seconds, always the same ones; `--write` puts them there.
Nothing is measured: it is arithmetic about placement, with one assumption about waiting, which stands below the tables.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
_PLACE = re.compile(r"(<!-- simulated -->\n).*?(<!-- simulated end -->)", re.DOTALL)

MERCHANTS = 20_000
SHARDS = 128
CAPACITY = 1000
"""Checkouts that one server completes in a second; only ratios follow from it, but for the milliseconds."""
USED = 0.6
"""What is used of all servers together."""
FULL = 0.8
"""What may be used of one."""
SKEWS = (0.8, 1.0, 1.2)
NODES = (4, 16, 64)
Spread = Callable[[Sequence[float], int], list[float]]


def sizes(skew: float, merchants: int = MERCHANTS) -> list[float]:
    """The share of each merchant in all purchases, the largest first: the n-th has 1 / n^skew of the largest's."""
    raw = [1 / rank**skew for rank in range(1, merchants + 1)]
    total = sum(raw)
    return [each / total for each in raw]


def hashed(name: str, slots: int) -> int:
    """A slot for a name, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % slots


def shards_of(shares: Sequence[float]) -> list[float]:
    """What each shard holds when merchants are put there by hash."""
    found = [0.0] * SHARDS
    for number, share in enumerate(shares, 1):
        found[hashed(f"merchant {number}", SHARDS)] += share
    return found


def in_turn(parts: Sequence[float], nodes: int) -> list[float]:
    """Parts dealt to servers like cards, as they are when tables are first distributed."""
    found = [0.0] * nodes
    for place, part in enumerate(parts):
        found[place % nodes] += part
    return found


def levelled(parts: Sequence[float], nodes: int) -> list[float]:
    """The largest part first, always to the server with the least: what a rebalancer that knows the loads comes close to."""
    found = [0.0] * nodes
    for part in sorted(parts, reverse=True):
        found[found.index(min(found))] += part
    return found


def by_hash(shares: Sequence[float], nodes: int) -> list[float]:
    """As the tables are after `create_distributed_table`."""
    return in_turn(shards_of(shares), nodes)


def rebalanced(shares: Sequence[float], nodes: int) -> list[float]:
    """The same shards, moved by their load."""
    return levelled(shards_of(shares), nodes)


def isolated(shares: Sequence[float], nodes: int) -> list[float]:
    """Each merchant that is larger than half a shard's even part gets a shard of its own; then shards are moved by their load."""
    large = [share for share in shares if share > 0.5 / SHARDS]
    return levelled([*large, *shards_of([0.0] * len(large) + list(shares[len(large) :]))], nodes)


def split(shares: Sequence[float], nodes: int) -> list[float]:
    """The same, and a merchant that is more than half a server is cut into eight by the buyer's id."""
    parts: list[float] = []
    rest = [0.0 if share > 0.5 / nodes else share for share in shares]
    for share in shares:
        if share > 0.5 / nodes:
            parts += [share / 8] * 8
    large = [share for share in rest if share > 0.5 / SHARDS]
    small = [0.0 if share > 0.5 / SHARDS else share for share in rest]
    return levelled([*parts, *large, *shards_of(small)], nodes)


PLACEMENTS: dict[str, Spread] = {
    "by hash": by_hash,
    "shards moved by load": rebalanced,
    "large merchants isolated": isolated,
    "the largest cut by buyer": split,
}


@dataclass(frozen=True, slots=True)
class Load:
    """How the fullest server stands: what is used of it, against the mean, and what 1 in 100 waits there, in milliseconds."""

    used: float
    above: float
    p99_ms: float | None


def load(shares: Sequence[float], nodes: int, spread: Spread) -> Load:
    """The fullest server, when `USED` of all is used."""
    fullest = max(spread(shares, nodes)) * nodes
    used = fullest * USED
    return Load(used, fullest, None if used >= 1 else 1000 * math.log(100) / (CAPACITY * (1 - used)))


def tables() -> str:
    """Both tables, as Markdown."""
    return f"{_placed()}\n{_giant()}"


def _placed() -> str:
    names = list(PLACEMENTS)
    lines = [
        f"| sizes fall as | servers | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for skew in SKEWS:
        shares = sizes(skew)
        for nodes in NODES:
            found = [load(shares, nodes, spread) for spread in PLACEMENTS.values()]
            lines.append(f"| 1 / n^{skew} | {nodes} | {' | '.join(_cell(each) for each in found)} |")
    return "\n".join(lines) + "\n"


def _cell(found: Load) -> str:
    waits = "full" if found.p99_ms is None else f"{found.p99_ms:.0f} ms"
    return f"{found.used:.0%}, {waits}"


def _giant() -> str:
    lines = [
        "| sizes fall as | the largest merchant | the ten largest | it needs a server alone from | it no longer fits on one from |",
        "|---|---|---|---|---|",
    ]
    for skew in SKEWS:
        shares = sizes(skew)
        alone, beyond = 0.5 / shares[0], FULL / (USED * shares[0])
        told = (f"{shares[0]:.1%}", f"{sum(shares[:10]):.1%}", f"{math.ceil(alone)} servers", f"{math.ceil(beyond)} servers")
        lines.append(f"| 1 / n^{skew} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """A page with its tables made anew."""
    return _PLACE.sub(lambda found: f"{found[1]}{tables()}{found[2]}", page)


def main() -> None:
    """Print the tables, or write them into the page."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(written(PAGE.read_text()))
    else:
        print(tables())


if __name__ == "__main__":
    main()

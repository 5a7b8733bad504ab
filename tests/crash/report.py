"""What a playing of the catalogue prints, and the page it writes: fault, runs, violations, how long recovery took."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import rig

from .fault import FAULTS, IMPOSSIBLE, NUMBERS, Fault, Result
from .found import FOUND

PAGE = rig.ROOT / "docs" / "faults.md"
KEPT = rig.ROOT / ".crash"
"""Where results are kept between playings, so that a long one can be gone on with."""
_ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
CHAPTERS = (
    ("The payment provider", 1, 20),
    ("Buyers, and what they do at once", 21, 34),
    ("The database", 35, 45),
    ("Broker, workers, Redis, time", 46, 60),
    ("Merchants who are told", 61, 66),
    ("Abuse, secrets, edges", 67, 80),
)


def source_hash() -> str:
    """A hash of what is played: results of other code are worth nothing."""
    whole = hashlib.sha256()
    for file in sorted([*(rig.ROOT / "src").rglob("*.py"), *(rig.ROOT / "src").rglob("*.sql")]):
        whole.update(str(file.relative_to(rig.ROOT)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()[:16]


def folder_of_results() -> Path:
    """Where results of the present code are; `CRASH_RESULTS` for code that is changed on purpose."""
    return Path(os.environ.get("CRASH_RESULTS") or KEPT / source_hash())


def keep(result: Result) -> None:
    """Keep a result beside the code it is of."""
    folder = folder_of_results()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.number}.json").write_text(json.dumps(asdict(result), indent=1))


def kept(folder: Path | None = None) -> dict[str, Result]:
    """Results of the present code, or those in `folder`, by number."""
    folder = folder or folder_of_results()
    return {file.stem: Result(**json.loads(file.read_text())) for file in sorted(folder.glob("F*.json"))} if folder.is_dir() else {}


def keep_mutants(hunted: Sequence[Any]) -> None:
    """Keep what became of broken guards beside the code that they were guards of. Those that were not tried this time stay as they were."""
    rows = {row["name"]: row for row in kept_mutants()}
    rows |= {
        each.mutant.name: {"name": each.mutant.name, "breaks": each.mutant.breaks, "by": each.by, "what": each.what}
        for each in hunted
    }
    folder = folder_of_results()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mutants.json").write_text(json.dumps(list(rows.values()), indent=1))


def kept_mutants() -> list[dict[str, str]]:
    """What became of the broken guards of the present code."""
    file = folder_of_results() / "mutants.json"
    return json.loads(file.read_text()) if file.is_file() else []


def kept_of(name: str) -> Result | None:
    """The result of an hour of chance, or of a soak, of the present code."""
    file = folder_of_results() / f"{name}.json"
    return Result(**json.loads(file.read_text())) if file.is_file() else None


def line(fault: Fault, result: Result) -> str:
    """One line for people while it goes on."""
    recovery = _seconds(result)
    mark = "✗" if result.wrong else "✓"
    if result.skipped:
        return f"  - {fault.number}  {fault.says[:70]:70}  not played: {result.skipped}"
    return f"  {mark} {fault.number}  {fault.says[:70]:70}  {result.runs:>5} runs  {len(result.wrong):>3} violations  {recovery}  ({result.took_s:.0f} s)"


def page(results: Mapping[str, Result]) -> str:
    """`docs/faults.md`. Every fault has its line; one that was not played says so."""
    runs, wrong = sum(each.runs for each in results.values()), sum(len(each.wrong) for each in results.values())
    parts = [
        "# Faults",
        "",
        "What can go wrong, how often it was made to go wrong, and what came of it. `make crash` plays all of it again and writes this page.",
        "Each fault is a function of that name in `tests/crash/faults`; what must hold is the invariant of that number in `kassa verify`, the",
        "`holds` of the function, and whatever callers were told while it happened. *Recovery* is the time until all was well again.",
        "",
        f"{len(results)} faults played, {runs:,} runs, **{wrong} violations**. {_machine()}",
        "",
    ]
    for title, first, last in CHAPTERS:
        parts += [f"## {title}", "", *_chapter(results, range(first, last + 1)), ""]
    parts += ["## Not played on one machine", "", *_impossible(), ""]
    parts += [
        "## Found on the way",
        "",
        "What these playings found wrong before it was mended, and what holds it now.",
        "",
        *_found(),
        "",
    ]
    return "\n".join(parts)


def _chapter(results: Mapping[str, Result], numbers: Sequence[int]) -> list[str]:
    rows = [
        "| # | fault | must not be crossed | runs | violations | recovery p50 / p95 | beside that |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for number in (f"F{each:02}" for each in numbers):
        if number not in FAULTS:
            continue
        fault, result = FAULTS[number], results.get(number)
        if result is None or result.skipped:
            why = f"not played: {result.skipped}" if result else "not played"
            rows.append(f"| {number} | {fault.says} (`{fault.name}`) | {fault.passes} | {why} | | | |")
            continue
        beside = "; ".join(f"{name} {value}" for name, value in result.measured.items())
        rows.append(
            f"| {number} | {fault.says} (`{fault.name}`) | {fault.passes} | {result.runs:,} | {len(result.wrong)} | {_seconds(result)} | {beside} |"
        )
    return rows


def _impossible() -> list[str]:
    if not IMPOSSIBLE:
        return ["Nothing: every fault of the catalogue is played."]
    return [
        "| # | fault | why not |",
        "|---|---|---|",
        *(f"| {number} | {says} | {why} |" for number, (says, why) in sorted(IMPOSSIBLE.items())),
    ]


def _by_chance() -> list[str]:
    chance = kept_of("chance")
    says = (
        "`make crash HOURS=1` founds a city of two APIs, gRPC and three workers with a proxy on every line, lets people buy, cancel, pay by link and be given "
        "money back, and every few seconds kills, freezes, restarts or cuts off what a seed has chosen: processes, lines, the database, the broker, Redis, neighbours."
    )
    if chance is None:
        return [says, "", "Not played with this code."]
    troubles = chance.measured.get("troubles", "?")
    told = f"{chance.runs} rounds with {troubles} troubles (seed {chance.seed}), **{len(chance.wrong)} violations**; from the last trouble to rest {_seconds(chance)}."
    return [says, "", told]


def _mutants() -> list[str]:
    rows = kept_mutants()
    says = "`make crash MUTANTS=1` takes one guard away at a time, and looks which playing notices."
    if not rows:
        return [says, "", "Not played with this code."]
    lines = [f"| {row['breaks']} | {_test_name(row['by']) or '**nobody**'} | {_cell(row['what'])} |" for row in rows]
    return [says, "", "| without it | noticed by | how it shows |", "|---|---|---|", *lines]


def _test_name(by: str) -> str:
    return by if by in FAULTS else by.rpartition("::")[2].partition("[")[2].rstrip("]") or by.rpartition("/")[2]


def _cell(text: str) -> str:
    """A text as it may stand in a table: one line, of ids only the beginning."""
    short = _ID.sub(r"\1…", " ".join(text.split()).replace("|", "/"))
    return short if len(short) <= 160 else f"{short[:160]}…"


def _found() -> list[str]:
    return [
        "| fault | what was wrong | what holds it now |",
        "|---|---|---|",
        *(f"| {each.fault} | {each.wrong} | {each.holds} |" for each in FOUND),
    ]


def _seconds(result: Result) -> str:
    half, most = result.percentile(0.5), result.percentile(0.95)
    return "-" if half is None or most is None else f"{half:.1f} / {most:.1f} s"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Played on {os.cpu_count()} processors, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}, "
        f"on {datetime.now(UTC):%Y-%m-%d}; code {source_hash()}."
    )


def write(results: Mapping[str, Result]) -> Path:
    """Write the page; its place."""
    PAGE.write_text(page(results))
    return PAGE


def not_played(results: Mapping[str, Result]) -> list[str]:
    """Numbers of the catalogue that have no result."""
    return [number for number in NUMBERS if number not in results and number not in IMPOSSIBLE]

"""`make crash`: play the catalogue of faults on real processes, print what came of it, and write `docs/faults.md`.

Each fault is played in a process of its own, so that none leaves anything to the next. Results are kept per version of the code (`.crash/`), and
`--resume` goes on where a playing was broken off. The page is written when every fault has its result.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import rig, services
from tests.crash import chance, faults, mutants, report
from tests.crash.fault import FAULTS, Fault, Result
from tests.crash.field import play
from tests.crash.nursery import Nursery

assert faults
PATIENCE_S = 3600


def main() -> int:
    """Do what the command line says; the exit code is 1 when there was a violation."""
    asked = _arguments()
    if asked.list:
        for fault in FAULTS.values():
            print(f"{fault.number}  {fault.says}  [{fault.name}]")
        return 0
    chosen = [] if asked.mutants else _chosen(asked.only)
    if asked.child:
        return _child(chosen[0], asked.runs, asked.seed)
    with _open_run():
        if asked.hours:
            return _for_hours(asked)
        if asked.mutants:
            return _hunt(asked)
        results = report.kept() if asked.resume else {}
        if asked.only:  # what is named is played, whatever was kept of it
            results = {number: each for number, each in results.items() if number not in {each.number for each in chosen}}
        results |= _play([each for each in chosen if each.number not in results], asked)
    _say_end(results)
    return 1 if any(each.wrong for each in results.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash ARGS=…", description=__doc__)
    parser.add_argument("--only", default="", help="numbers of faults, F01,F35-F38; all when absent")
    parser.add_argument("--runs", type=int, default=0, help="how often each is played (default: as the catalogue says)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="for all chance; printed, so that it can be repeated")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="so many side by side")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what this version of the code has a result of, and is not named by --only"
    )
    parser.add_argument("--list", action="store_true", help="only list the faults")
    parser.add_argument("--hours", type=float, default=0, help="not the catalogue, but trouble by chance for so long")
    parser.add_argument("--soak", action="store_true", help="with --hours: no trouble, and nothing may grow")
    parser.add_argument("--mutants", action="store_true", help="break one guard after the other, and see that each is noticed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(only: str) -> list[Fault]:
    wanted: set[str] = set()
    for part in filter(None, only.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        wanted |= {f"F{number:02}" for number in numbers}
    return [FAULTS[number] for number in sorted(FAULTS) if not wanted or number in wanted]


@contextlib.contextmanager
def _open_run() -> Iterator[None]:
    """A folder and a PostgreSQL for everything that is played; both end with it."""
    with contextlib.ExitStack() as stack:
        services.end_left_behind()
        folder = Path(tempfile.mkdtemp(prefix=rig.run_prefix()))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["KASSA_TEST_RUN"] = str(folder)
        os.environ["KASSA_TEST_SERVER"] = stack.enter_context(rig.postgres_for(folder))
        stack.callback(services.end_processes_in, f"{folder}{os.sep}services{os.sep}")
        stack.callback(lambda: rig.this_run().drop_all())
        yield


def _play(chosen: Sequence[Fault], asked: argparse.Namespace) -> dict[str, Result]:
    print(f"{len(chosen)} faults, seed {asked.seed}, {asked.jobs} at once", flush=True)
    beside = [each for each in chosen if not each.alone]
    alone = [each for each in chosen if each.alone]
    with ThreadPoolExecutor(asked.jobs) as pool:
        results = list(pool.map(lambda each: _in_a_child(each, asked), beside))
    results += [_in_a_child(each, asked) for each in alone]
    return {each.number: each for each in results}


def _in_a_child(fault: Fault, asked: argparse.Namespace) -> Result:
    command = [
        sys.executable,
        "-m",
        "tests.crash",
        "--child",
        "--only",
        fault.number,
        "--runs",
        str(asked.runs),
        "--seed",
        str(asked.seed),
    ]
    began = time.monotonic()
    (report.folder_of_results() / f"{fault.number}.json").unlink(missing_ok=True)
    try:
        done = subprocess.run(command, cwd=rig.ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        said = f"it did not end within {PATIENCE_S} s"
    result = report.kept().get(fault.number) or Result(fault.number, wrong=[f"the scenario died: {said[-2000:]}"], seed=asked.seed)
    result.took_s = result.took_s or time.monotonic() - began
    print(report.line(fault, result), flush=True)
    for each in result.wrong[:5]:
        print("        " + each[:1500].replace("\n", "\n        "), flush=True)
    return result


def _child(fault: Fault, runs: int, seed: int) -> int:
    nursery = Nursery()
    database = rig.this_run()
    try:
        result = play(fault, runs or fault.runs, seed, nursery, database)
    finally:
        nursery.close()
        database.drop_mine()
    report.keep(result)
    return 1 if result.wrong else 0


def _for_hours(asked: argparse.Namespace) -> int:
    """An hour of chance, or a soak; what came of it is printed, and kept for the page."""
    print(f"{asked.hours:g} hours, seed {asked.seed}", flush=True)
    nursery, database = Nursery(), rig.this_run()
    try:
        work = chance.soak if asked.soak else chance.play_hours
        result = work(asked.hours, asked.seed, nursery, database, lambda line: print(line, flush=True))
    finally:
        nursery.close()
        database.drop_mine()
    report.keep(result)
    half, most = result.percentile(0.5) or 0, result.percentile(0.95) or 0
    print(f"{result.runs:,} runs, {len(result.wrong)} violations, at rest after {half:.1f} s (p50), {most:.1f} s (p95)")
    for name, value in result.measured.items():
        print(f"  {name}: {value}")
    for each in result.wrong[:20]:
        print("  ✗ " + each[:2000])
    return 1 if result.wrong else 0


def _hunt(asked: argparse.Namespace) -> int:
    """Break each guard, and see which scenario notices. One that nobody notices is a violation."""
    wanted = [each for each in mutants.MUTANTS if not asked.only or each.name in asked.only.split(",")]
    where = Path(os.environ["KASSA_TEST_RUN"]) / "mutants"
    print(f"{len(wanted)} guards, seed {asked.seed}", flush=True)
    hunted = []
    for mutant in wanted:
        hunted.append(mutants.hunt(mutant, where, asked.seed))
        found = hunted[-1]
        print(f"  {'✓' if found.by else '✗'} {mutant.name}: {mutant.breaks}", flush=True)
        print(f"      {'found by ' + found.by + ': ' + found.what[:300] if found.by else 'NOBODY NOTICED'}", flush=True)
    report.keep_mutants(hunted)
    return 1 if any(not each.by for each in hunted) else 0


def _say_end(results: dict[str, Result]) -> None:
    wrong = sum(len(each.wrong) for each in results.values())
    print(f"{len(results)} faults, {sum(each.runs for each in results.values()):,} runs, {wrong} violations")
    missing = report.not_played(results)
    if missing:
        print(f"docs/faults.md is left as it was: without a result are {', '.join(missing)}")
    else:
        print(f"Written: {report.write(results).relative_to(rig.ROOT)}")


if __name__ == "__main__":
    sys.exit(main())

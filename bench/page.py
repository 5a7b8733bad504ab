"""What is kept of a run in the documents: `docs/bench.json`, and the page and the picture that are made from it alone.

`python -m bench.page` makes page and picture anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.picture import draw
from bench.report import waited

DOCS = Path(__file__).parent.parent / "docs"
_TOP = (Path(__file__).parent / "page.md").read_text()


def record(found: dict[str, Any]) -> None:
    """Keep what was measured as this release's; rows that were not measured now stay as they were."""
    kept = _kept()
    release = kept["releases"].setdefault(found["machine"]["kassa"], {"rows": []})
    measured = {row["row"] for row in found["rows"]}
    rows = [row for row in release["rows"] if row["row"] not in measured] + found["rows"]
    release |= {"at": found["at"], "machine": found["machine"], "rows": sorted(rows, key=lambda row: int(row["row"]))}
    _keep(kept)


def record_growth(found: dict[str, Any]) -> None:
    """Keep how things grew as this release's."""
    kept = _kept()
    kept["releases"].setdefault(found["machine"]["kassa"], {"rows": []})["growth"] = found
    _keep(kept)


def _kept() -> dict[str, Any]:
    path = DOCS / "bench.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"releases": {}}
    return found


def _keep(kept: dict[str, Any]) -> None:
    (DOCS / "bench.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    write(kept)


def write(kept: dict[str, Any]) -> None:
    """Write the page and the picture."""
    for name, text in documents(kept).items():
        (DOCS / name).write_text(text)


def documents(kept: dict[str, Any]) -> dict[str, str]:
    """The page and the picture, by the names of their files."""
    releases = list(kept["releases"].items())
    name, newest = releases[-1] if releases else ("", {"rows": []})
    shown = [_release(version, release) for version, release in reversed(releases)]
    title = f"Kassa {name}: times what it must reach" if releases else "Not measured yet: make bench RECORD=1"
    return {"bench.md": "\n".join([_TOP, *shown]), "bench.svg": draw(newest["rows"], title)}


def _release(version: str, release: dict[str, Any]) -> str:
    lines = [f"## {version}", ""]
    if release["rows"]:
        machine = " · ".join(f"{name} {value}" for name, value in release["machine"].items() if name != "kassa")
        lines += [
            f"{release['at']}. {machine}",
            "",
            "| row | what | against | ratio | spread | must |",
            "|---|---|---|---|---|---|",
        ]
        for row in release["rows"]:
            spread, mark = (
                f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}",
                "" if row["ratio"] >= row["target"] else " (below)",
            )
            what, against = row["what"].rstrip(","), row["against"]
            lines.append(f"| {row['row']} | {what} | {against} | {row['ratio']:.2f}{mark} | {spread} | {row['target']:g} |")
        lines.append("")
        for row in release["rows"]:
            lines += [f"- Row {row['row']}: {text}." for text in [*row["notes"], *map(waited, row["waiting"])]]
        lines.append("")
    if "growth" in release:
        lines += _growth(release["growth"])
    return "\n".join(lines)


def _growth(growth: dict[str, Any]) -> list[str]:
    sizes = growth["sizes"]
    lines = [
        "### As it grows",
        "",
        f"With so many orders in one database, on {growth['at']}. Milliseconds are medians of one caller who asks again and again.",
        "",
        f"| what | {' | '.join(format(size['orders'], ',') for size in sizes)} |",
        f"|---|{'---|' * len(sizes)}",
    ]
    lines += [f"| {what} | {' | '.join(str(size['found'].get(what, '')) for size in sizes)} |" for what in sizes[-1]["found"]]
    return [*lines, "", *(f"- {note}" for note in growth["notes"]), ""]


if __name__ == "__main__":
    write(_kept())
    sys.exit(0)

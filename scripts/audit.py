"""Ask whether a package of requirements.lock has a known vulnerability: `make check` does, at OSV, all packages in one question.

A vulnerability fails the check and is named with the version that mends it. A service that cannot be reached fails nothing, because
the check must work without a network, but it is said. What is accepted for a while stands in scripts/audit.accepted: one line of
id, last day, package and reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "https://api.osv.dev"
_WITHIN_S = 15
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_ACCEPTED = re.compile(r"(\S+) (\d{4}-\d\d-\d\d) ([A-Za-z0-9._-]+): (\S.*)")


class Unreachable(Exception):
    """The service gave no answer that can be used."""


@dataclass(frozen=True)
class Accepted:
    """A vulnerability that is lived with until `last_day`, because of `reason`."""

    vulnerability: str
    last_day: date
    package: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A vulnerability of a package in the version that is locked."""

    package: str
    version: str
    ids: tuple[str, ...]
    mended_in: tuple[str, ...]
    summary: str

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.mended_in)}" if self.mended_in else "not mended yet"
        return f"{self.package} {self.version}: {' '.join(self.ids)}: {mended}. {self.summary}".rstrip()


def pins(text: str) -> list[tuple[str, str]]:
    """Names and versions of a lock file; a package that is locked differently for different systems stands several times."""
    found = [match for line in text.splitlines() if (match := _PIN.match(line))]
    return sorted({(_normal(match[1]), match[2]) for match in found})


def accepted(text: str) -> list[Accepted]:
    """The lines of the list of what is accepted. Raises `ValueError` with a line that is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = []
    for line in lines:
        match = _ACCEPTED.fullmatch(line)
        if match is None:
            raise ValueError(f"no line of id, last day, package and reason: {line}")
        rows.append(Accepted(match[1], date.fromisoformat(match[2]), _normal(match[3]), match[4]))
    return rows


def ask(service: str, packages: list[tuple[str, str]]) -> list[Found]:
    """Every known vulnerability of these packages that was not withdrawn. Raises `Unreachable`."""
    try:
        return list(_ask(service, packages))
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"its answer cannot be read ({type(error).__name__})") from None


def _ask(service: str, packages: list[tuple[str, str]]) -> Iterator[Found]:
    left = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in packages]
    known: dict[str, Any] = {}
    seen = set()
    while left:
        results = _call(f"{service}/v1/querybatch", {"queries": left})["results"]
        if len(results) != len(left):
            raise Unreachable("its answer is not whole")
        more = []
        for query, result in zip(left, results, strict=True):
            name, version = query["package"]["name"], query["version"]
            for each in result.get("vulns") or []:
                if each["id"] not in known:
                    known[each["id"]] = _call(f"{service}/v1/vulns/{each['id']}")
                told = known[each["id"]]
                ids = (each["id"], *sorted(told.get("aliases") or []))
                if "withdrawn" not in told and (name, version, frozenset(ids)) not in seen:
                    seen.add((name, version, frozenset(ids)))
                    yield Found(name, version, ids, _mended_in(told, name), str(told.get("summary") or ""))
            if result.get("next_page_token"):
                more.append({**query, "page_token": result["next_page_token"]})
        left = more


def _mended_in(told: Any, package: str) -> tuple[str, ...]:
    versions = [
        event["fixed"]
        for affected in told.get("affected") or []
        if _normal(affected["package"]["name"]) == package
        for span in affected.get("ranges") or []
        if span["type"] != "GIT"
        for event in span["events"]
        if "fixed" in event
    ]
    return tuple(dict.fromkeys(versions))


def _call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Unreachable(f"it answers {error.code}") from None
    except (OSError, ValueError) as error:
        raise Unreachable(type(error).__name__) from None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """The exit code: 0 when nothing is known, or nobody could be asked; 1 for a vulnerability or a line that has run out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--accepted", type=Path, default=ROOT / "scripts" / "audit.accepted")
    parser.add_argument("--service", default=SERVICE, help="where OSV, or a copy of it, answers")
    given = parser.parse_args()
    packages = pins(given.lock.read_text())
    try:
        lines = accepted(given.accepted.read_text())
    except ValueError as error:
        print(f"audit: {given.accepted.name}: {error}", file=sys.stderr)
        return 1
    late = [each for each in lines if each.last_day < datetime.now(UTC).date()]
    for each in late:
        print(f"audit: {each.vulnerability} of {each.package} was accepted until {each.last_day}: decide anew", file=sys.stderr)
    try:
        found = ask(given.service, packages)
    except Unreachable as error:
        print(
            f"audit: NOT DONE, {given.service} gives no answer: {error}. Known vulnerabilities were not looked for.",
            file=sys.stderr,
        )
        return 1 if late else 0
    good = {(each.vulnerability, each.package) for each in lines if each not in late}
    bad = [each for each in found if not any((known, each.package) in good for known in each.ids)]
    for vulnerable in bad:
        print(f"audit: {vulnerable}", file=sys.stderr)
    for each in lines:
        if not any(each.vulnerability in known.ids and each.package == known.package for known in found):
            print(f"audit: {each.vulnerability} of {each.package} is not there any more: its line can go", file=sys.stderr)
    if not bad:
        print(f"audit: {len(packages)} packages, no known vulnerability{f' but {len(good)} accepted' if good else ''}")
    return 1 if bad or late else 0


if __name__ == "__main__":
    sys.exit(main())

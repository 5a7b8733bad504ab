"""A release: one version, a wheel that needs nothing but what it declares, the same bytes each time, and a list of its parts."""

from __future__ import annotations

import email
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name
from packaging.version import Version
from scripts import release
from tests import rig
from tests.ship.samples import blocks

from kassa import __version__

SRC = rig.ROOT / "src"
WHEEL = f"kassa-{__version__}-py3-none-any.whl"
NAMES_A_VERSION = re.compile(
    r"(?:\bkassa[:-]|/opt/kassa/|ln -sfn |newTag: )(\d+\.\d+\.\d+)|\bkassa==(\d+\.\d+\.\d+)|^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE
)
KINDS = {".css", ".html", ".js", ".proto", ".py", ".pyi", ".svg", ".toml", ".txt", ".typed"}
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LGPL-3.0-only",
    "License :: Public Domain",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
}
"""What may stand beside a payment. LGPL and MPL are for whoever changes those packages; Kassa uses them as they come."""
WEAK_COPYLEFT = {"certifi": "MPL-2.0", "orjson": "MPL-2.0", "psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
START_S = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that `make dist` writes."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    list(release.release(folder))
    return folder


@pytest.fixture(scope="module")
def parts(made: Path) -> dict[str, Any]:
    """The list of parts."""
    found: dict[str, Any] = json.loads((made / f"kassa-{__version__}.cdx.json").read_text())
    return found


def metadata(made: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(made / WHEEL) as wheel:
        return email.message_from_bytes(wheel.read(f"kassa-{__version__}.dist-info/METADATA"))


def names(file: Path) -> set[str]:
    """The files of an archive, below its one folder where it has one."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return set(wheel.namelist())
    with tarfile.open(file) as archive:
        return {each.name.partition("/")[2] for each in archive if each.isfile()}


# ── one version ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_version_is_that_of_the_newest_heading_of_the_changelog() -> None:
    newest = re.search(r"^## \[(.+?)\] - (unreleased|\d{4}-\d\d-\d\d)$", (rig.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_whoever_repeats_the_version_says_the_same() -> None:
    told: dict[str, set[str]] = {}
    places = [rig.ROOT / "compose.production.yaml", rig.ROOT / "compose.yaml", rig.ROOT / "Dockerfile", rig.ROOT / "README.md"]
    for folder in ("docs", "deploy"):
        places += [each for each in (rig.ROOT / folder).rglob("*") if each.suffix in {".md", ".yaml", ".yml", ".service", ".conf"}]
    for place in places:
        if "decisions" not in place.parts:
            for found in NAMES_A_VERSION.findall(place.read_text(encoding="utf-8")):
                told.setdefault("".join(found), set()).add(str(place.relative_to(rig.ROOT)))
    older = {version: who for version, who in told.items() if Version(version) < Version(__version__)}
    assert not older, "change these to the new version; a newer one is the example of an upgrade"
    assert {"docs/install.md", "docs/small-server.md", "deploy/kubernetes/overlays/production/kustomization.yaml"} <= told[
        __version__
    ]


# ── wheel and source ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_has_every_file_of_the_source_and_no_other(made: Path) -> None:
    wanted = {str(each.relative_to(SRC)) for each in SRC.rglob("*") if each.is_file() and each.suffix in KINDS}
    about = f"kassa-{__version__}.dist-info/"
    inside = names(made / WHEEL)
    assert {each for each in inside if not each.startswith(about)} == wanted
    assert {each.removeprefix(about) for each in inside if each.startswith(about)} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"
    }  # fmt: skip
    for needed in (
        "kassa/py.typed",
        "kassa/pages/words/uz.toml",
        "kassa/notices/templates/letter.html",
        "payments_service/payments.proto",
    ):
        assert needed in inside


def test_nothing_in_the_source_is_of_a_kind_that_the_wheel_would_lose() -> None:
    kinds = {each.suffix or each.name for each in SRC.rglob("*") if each.is_file() and each.suffix not in {".pyc", ".pyo"}}
    assert kinds == KINDS


def test_the_archive_has_what_it_takes_to_work_on_kassa_and_nothing_of_this_machine(made: Path) -> None:
    inside = names(made / f"kassa-{__version__}.tar.gz")
    tops = {each.partition("/")[0] for each in inside}
    assert tops >= {
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "src",
        "tests",
        "docs",
        "scripts",
        "deploy",
        "proto",
        "PKG-INFO",
    }
    assert tops.isdisjoint({".venv", ".kassa", ".env", ".git", ".cache", "build", "dist"})
    assert not [each for each in inside if each.endswith(".pyc") or "__pycache__" in each or "bench/results" in each]


def test_the_archive_builds_the_same_bytes_in_another_place_at_another_time(made: Path, tmp_path: Path) -> None:
    with tarfile.open(made / f"kassa-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    for each in folder.rglob("*"):
        os.utime(each, (1_900_000_000, 1_900_000_000))
    for again in release.build(tmp_path / "again", folder):
        assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256((made / again.name).read_bytes()).digest(), again.name


def test_metadata_say_what_it_is_and_invent_no_address(made: Path) -> None:
    told = metadata(made)
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("kassa", __version__, "MIT")
    assert told["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    assert told["Keywords"]
    assert told.get_all("Project-URL") is None
    assert told["Home-page"] is None


def test_the_sums_are_those_of_the_files(made: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (made / "SHA256SUMS").read_text().splitlines())
    files = {each.name: each for each in made.iterdir() if each.name != "SHA256SUMS"}
    assert listed == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert files.keys() == {WHEEL, f"kassa-{__version__}.tar.gz", f"kassa-{__version__}.cdx.json", "requirements.run.lock"}


# ── the list of parts ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_of_parts_is_valid_and_has_no_time_and_no_chance_in_it(made: Path) -> None:
    text = (made / f"kassa-{__version__}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert not {"serialNumber"} & json.loads(text).keys()
    assert release.parts() == text


def test_every_locked_package_is_a_part_in_its_version_and_nothing_else_is(parts: dict[str, Any]) -> None:
    root = parts["metadata"]["component"]
    assert (root["name"], root["version"], root["licenses"][0]["license"]["id"]) == ("kassa", __version__, "MIT")
    listed = {
        canonicalize_name(each["name"]): each["version"] for each in parts["components"] if each["purl"].startswith("pkg:pypi/")
    }
    assert listed == release.locked()
    assert len(listed) > 60
    assert {each["name"] for each in parts["components"] if not each["purl"].startswith("pkg:pypi/")} == {"htmx.org", "postgresql"}


def test_every_part_is_led_to_by_another_one(parts: dict[str, Any]) -> None:
    leads = {each["ref"]: each.get("dependsOn", []) for each in parts["dependencies"]}
    seen, left = set(), [parts["metadata"]["component"]["bom-ref"]]
    while left:
        seen.add(ref := left.pop())
        left += [each for each in leads[ref] if each not in seen]
    assert {each["bom-ref"] for each in parts["components"]} <= seen


def test_what_is_carried_inside_has_its_licence_beside_it() -> None:
    scripts = [each.name for each in release.STATIC.glob("*.min.js")]
    assert scripts
    assert all(each.startswith("htmx-") for each in scripts), "name it in scripts/release.py"
    assert "Zero-Clause BSD" in (release.STATIC / "htmx-LICENSE.txt").read_text()


def test_no_part_has_a_licence_that_nobody_has_read(parts: dict[str, Any]) -> None:
    weak = {}
    for part in parts["components"]:
        told = [each.get("expression") or each["license"].get("id") or each["license"]["name"] for each in part.get("licenses", [])]
        exact = [each for each in told if "::" not in each] or told  # a classifier repeats what is said exactly beside it
        known = {word for each in exact for word in ([each] if "::" in each else re.findall(r"[A-Za-z0-9][\w.-]*", each))} - {
            "AND",
            "OR",
        }
        assert known, f"{part['name']} says no licence"
        assert known <= LICENCES, f"{part['name']}: {known - LICENCES}"
        if copyleft := known & {"LGPL-3.0-only", "MPL-2.0"}:
            (weak[part["name"]],) = copyleft
    assert weak == WEAK_COPYLEFT


# ── from the wheel alone ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Place:
    """A folder with nothing but the wheel, and a home and a scratch folder in which nothing may be left."""

    folder: Path
    home: Path
    scratch: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What a process there is given: nothing of this checkout."""
        basic = {"HOME": str(self.home), "TMPDIR": str(self.scratch), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
        return {**basic, **more}

    def typed(self, script: str, timeout_s: float = 60, **more: str) -> str:
        """What a shell prints in the folder. Fails when a command does."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment(**more),
            capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def place(made: Path) -> Iterator[Place]:
    """Short, because PostgreSQL's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="kw") as top:
        found = Place(*(Path(top, name) for name in ("shop", "home", "tmp")))
        for each in (found.folder, found.home, found.scratch):
            each.mkdir()
        Path(top).chmod(0o755)
        shutil.copy(made / WHEEL, found.folder)
        yield found


@pytest.fixture
def installed(place: Place, made: Path) -> Place:
    """The wheel is installed, with the packages that it declares and none of the others that are here."""
    declared = [each for each in metadata(made).get_all("Requires-Dist", []) if "extra ==" not in each]
    python = release.environment_of(release.needed(declared), place.folder / ".venv")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, str(place.folder / WHEEL)], check=True, capture_output=True, timeout=60)
    return place


def test_every_module_can_be_imported_with_what_the_wheel_declares(installed: Place) -> None:
    """All but the one that needs the extra `otel`."""
    look = """
import importlib, pkgutil, kassa, payments_service, ambassador_service
for package in (kassa, payments_service, ambassador_service):
    assert ".venv" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and ".migrations.env" not in module.name:
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert (module.name, error.name) == ("kassa.kit.spans", "opentelemetry.exporter"), (module.name, error)
            else:
                print(module.name)
"""
    seen = installed.typed(f".venv/bin/python - <<'END'\n{look}\nEND").split()
    assert len(seen) > 300
    assert "kassa.kit.spans" not in seen
    assert installed.typed(".venv/bin/kassa --version") == f"kassa {__version__}\n"
    missing = installed.typed(".venv/bin/python -c 'import pytest' 2>&1 || true")
    assert "No module named 'pytest'" in missing, "the environment sees more than it should"


def test_three_commands_in_an_empty_folder_lead_to_a_shop(installed: Place) -> None:
    assert blocks("install.md", "sh")[0].text.splitlines() == [
        "python3 -m venv .venv",
        f".venv/bin/pip install {WHEEL}",
        ".venv/bin/kassa dev",
    ]
    buys_and_leaves_nothing(installed)


@pytest.mark.timeout(600)
def test_the_same_with_what_the_index_has_today(place: Place) -> None:
    if os.environ.get("KASSA_TEST_INDEX") != "1":
        pytest.skip("KASSA_TEST_INDEX=1 installs the wheel from the package index, which takes a minute")
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    configured = Path.home() / ".config" / "pip" / "pip.conf"
    if configured.exists():
        pip.setdefault("PIP_CONFIG_FILE", str(configured))
    making, installing, _ = blocks("install.md", "sh")[0].text.splitlines()
    place.typed(f"{making}\n{installing} --quiet --no-cache-dir", 500, **pip)
    buys_and_leaves_nothing(place)


def buys_and_leaves_nothing(place: Place) -> None:
    """`kassa dev`, the purchase of docs/install.md, Ctrl-C: all that is left is in the folder."""
    http, grpc = rig.free_port(), rig.free_port()
    before, at_home = (
        {each.name for each in folder.iterdir()} for folder in (place.folder, place.home)
    )  # pip leaves things at home
    log = place.folder / ".venv" / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [".venv/bin/kassa", "dev"], cwd=place.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env=place.environment(HTTP_PORT=str(http), GRPC_PORT=str(grpc)),
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while "Ctrl-C stops it" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        printed = place.typed(blocks("install.md", "sh")[1].text.replace("localhost:8000", f"localhost:{http}"))
        assert "✓ Every invariant holds." in printed
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Stopped. Your data are kept" in log.read_text()
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(place.folder) in " ".join(each.info["cmdline"] or [])]
    assert {each.name for each in place.folder.iterdir()} == before | {".kassa"}
    assert {each.name for each in place.home.iterdir()} == at_home
    assert list(place.scratch.iterdir()) == []

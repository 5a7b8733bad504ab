"""`scripts/audit.py`: a known vulnerability fails the check, a service that is away is said and fails nothing.

The service is played on this machine: what it says of one package is given by the test.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests import rig

LOCK = """# a lock file
good-package==1.0 \\
    --hash=sha256:00
Bad_Package==2.0 ; sys_platform != "win32" \\
    --hash=sha256:00
"""
HOLE: dict[str, Any] = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "aliases": ["CVE-2026-00001"],
    "summary": "Whoever asks is let in.",
    "affected": [
        {"package": {"name": "other"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}]},
        {"package": {"name": "bad.package"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}]},
    ],
}


class Osv(ThreadingHTTPServer):
    """The service: one hole, or whatever it is told to say instead."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hole: dict[str, Any] = HOLE
        self.instead: tuple[int, bytes] | None = None
        self.asked: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        results: list[Any] = []
        for query in body["queries"]:
            if query["package"]["name"] != "bad-package":
                results.append({})
            elif "page_token" not in query:
                results.append({"next_page_token": "the rest"})
            else:
                results.append({"vulns": [{"id": self.server.hole["id"]}]})
        self._say({"results": results})

    def do_GET(self) -> None:
        assert self.path == f"/v1/vulns/{self.server.hole['id']}"
        self._say(self.server.hole)

    def _say(self, content: Any) -> None:
        status, body = self.server.instead or (200, json.dumps(content).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def osv() -> Iterator[Osv]:
    with Osv() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(folder: Path, service: str, *lines: str, lock: str = LOCK) -> tuple[int, str]:
    """The exit code, and all that is said."""
    (folder / "lock").write_text(lock)
    (folder / "accepted").write_text("\n".join(("# what is accepted", *lines)))
    command = [sys.executable, str(rig.ROOT / "scripts" / "audit.py")]
    done = subprocess.run(
        [*command, "--service", service, "--lock", str(folder / "lock"), "--accepted", str(folder / "accepted")],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "no_proxy": "*"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def in_days(days: int) -> str:
    return str((datetime.now(UTC) + timedelta(days=days)).date())


def test_a_known_vulnerability_fails_and_is_told_with_what_mends_it(osv: Osv, tmp_path: Path) -> None:
    code, said = audit(tmp_path, osv.url)
    assert code == 1
    assert said == "audit: bad-package 2.0: GHSA-aaaa-bbbb-cccc CVE-2026-00001: mended in 2.1. Whoever asks is let in.\n"
    asked = [(each["package"]["name"], each["version"]) for each in osv.asked[0]["queries"]]
    assert asked == [("bad-package", "2.0"), ("good-package", "1.0")]


def test_packages_without_one_pass(osv: Osv, tmp_path: Path) -> None:
    assert audit(tmp_path, osv.url, lock="good-package==1.0") == (0, "audit: 1 packages, no known vulnerability\n")


def test_one_that_was_withdrawn_is_none(osv: Osv, tmp_path: Path) -> None:
    osv.hole = {**HOLE, "withdrawn": "2026-01-01T00:00:00Z"}
    assert audit(tmp_path, osv.url)[0] == 0


def test_one_that_nobody_has_mended_yet_says_so(osv: Osv, tmp_path: Path) -> None:
    osv.hole = {**HOLE, "affected": []}
    code, said = audit(tmp_path, osv.url)
    assert (code, "not mended yet" in said) == (1, True)


@pytest.mark.parametrize("name", ["GHSA-aaaa-bbbb-cccc", "CVE-2026-00001"])
def test_what_is_accepted_passes_until_its_last_day(osv: Osv, tmp_path: Path, name: str) -> None:
    code, said = audit(tmp_path, osv.url, f"{name} {in_days(1)} bad_package: only its server part")
    assert (code, said) == (0, "audit: 2 packages, no known vulnerability but 1 accepted\n")
    code, said = audit(tmp_path, osv.url, f"{name} {in_days(-2)} bad_package: only its server part")
    assert code == 1
    assert f"{name} of bad-package was accepted until {in_days(-2)}: decide anew" in said
    assert "mended in 2.1" in said


def test_a_line_for_another_package_accepts_nothing_and_one_that_is_not_needed_is_told(osv: Osv, tmp_path: Path) -> None:
    code, said = audit(tmp_path, osv.url, f"GHSA-aaaa-bbbb-cccc {in_days(1)} good-package: a slip")
    assert code == 1
    assert "GHSA-aaaa-bbbb-cccc of good-package is not there any more: its line can go" in said


@pytest.mark.parametrize(
    "line", ["GHSA-aaaa-bbbb-cccc", "GHSA-aaaa-bbbb-cccc soon bad: x", "GHSA-a 2027-02-31 bad: x", "GHSA-a 2027-01-01 bad:"]
)
def test_a_line_without_a_reason_or_a_day_is_no_line(osv: Osv, tmp_path: Path, line: str) -> None:
    code, said = audit(tmp_path, osv.url, line)
    assert (code, said.startswith("audit: accepted: ")) == (1, True)


def test_a_service_that_is_away_is_said_and_fails_nothing(tmp_path: Path) -> None:
    code, said = audit(tmp_path, f"http://127.0.0.1:{rig.free_port()}")
    assert code == 0
    assert said.startswith("audit: NOT DONE, http://127.0.0.1:")
    assert "Known vulnerabilities were not looked for" in said


@pytest.mark.parametrize("instead", [(503, b"{}"), (200, b"<html>"), (200, b"{}"), (200, b'{"results": []}'), (200, b"[1]")])
def test_an_answer_that_is_none_is_not_taken_for_a_good_one(osv: Osv, tmp_path: Path, instead: tuple[int, bytes]) -> None:
    osv.instead = instead
    code, said = audit(tmp_path, osv.url)
    assert (code, "NOT DONE" in said) == (0, True)


def test_every_package_of_the_real_lock_file_is_asked_about(osv: Osv, tmp_path: Path) -> None:
    lock = (rig.ROOT / "requirements.lock").read_text()
    assert audit(tmp_path, osv.url, lock=lock)[0] == 0
    assert len(osv.asked[0]["queries"]) == lock.count("==") - lock.count(" == ") > 100

"""The scripts of `deploy/backup` and the commands of a restore, one at a time: what they refuse, and what they never do."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests import rig
from tests.ship.backups import SCRIPTS
from tests.unit.reconcile.statements import LOOK, judge, paid, returned, row, types
from tests.unit.shell.processes import refused, run

from kassa.cli.forget import _erasures as erasures
from kassa.cli.show import CommandError

AT_REST = replace(LOOK, at_rest=True)
PAYMENT = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"


def does(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPTS / words[0]), *words[1:]], capture_output=True, text=True, check=False)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    made = tmp_path / "000000010000000000000007"
    made.write_bytes(b"a segment")
    return made


def test_a_segment_is_kept_once_and_never_replaced(segment: Path, tmp_path: Path) -> None:
    kept = tmp_path / "backups" / "wal" / segment.name
    for _ in range(2):  # PostgreSQL asks again where it died before it noted the yes
        assert does("keep-wal", str(segment), segment.name, str(tmp_path / "backups")).returncode == 0
    segment.write_bytes(b"another server's")
    done = does("keep-wal", str(segment), segment.name, str(tmp_path / "backups"))
    assert (done.returncode, kept.read_bytes()) == (1, b"a segment")
    assert "is there already and is another one" in done.stderr
    assert list(kept.parent.iterdir()) == [kept], "no half of a copy is left"


def test_a_segment_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    done = does("keep-wal", str(tmp_path / "nowhere"), "000000010000000000000007", str(tmp_path / "backups"))
    assert done.returncode != 0
    assert list((tmp_path / "backups" / "wal").iterdir()) == []


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    for name in ("20260501T020000.000000Z", "20260502T020000.000000Z", "20260503T020000.500000Z", ".part.4711"):
        (tmp_path / "backups" / "base" / name).mkdir(parents=True)
        (tmp_path / "backups" / "base" / name / "PG_VERSION").write_text(name)
    return tmp_path / "backups"


@pytest.mark.parametrize(
    ("moment", "copy", "until"),
    [
        ("2026-05-03 14:20:00 UTC", "20260503T020000.500000Z", "2026-05-03 14:20:00.000000 UTC"),
        ("2026-05-03 14:20", "20260503T020000.500000Z", "2026-05-03 14:20:00.000000 UTC"),
        ("2026-05-03 02:00:00.4 UTC", "20260502T020000.000000Z", "2026-05-03 02:00:00.400000 UTC"),  # it was not whole by then
        ("2026-05-02 03:00:00 +02:00", "20260501T020000.000000Z", "2026-05-02 01:00:00.000000 UTC"),
        ("end", "20260503T020000.500000Z", None),
    ],
)
def test_the_newest_copy_from_before_the_moment_is_taken(
    copies: Path, tmp_path: Path, moment: str, copy: str, until: str | None
) -> None:
    data = tmp_path / "restored"
    done = does("bring-back", str(copies), str(data), moment)
    assert done.returncode == 0, done.stderr
    assert (data / "PG_VERSION").read_text() == copy
    assert [each.name for each in data.glob("*.signal")] == ["standby.signal" if until is None else "recovery.signal"]
    assert data.stat().st_mode & 0o777 == 0o700
    settings = (data / "postgresql.auto.conf").read_text()
    assert f'restore_command = \'cp "{copies}/wal/%f" "%p"\'' in settings
    assert ("archive_mode = off" in settings) is (until is None), "a copy to look at must not write into the backups"
    assert re.findall(r"recovery_target_time = '(.*)'", settings) == ([] if until is None else [until])


def test_nothing_is_brought_back_over_what_is_there_or_from_before_the_first_copy(copies: Path, tmp_path: Path) -> None:
    data = tmp_path / "restored"
    assert "has no copy from before" in does("bring-back", str(copies), str(data), "2026-04-30 00:00:00 UTC").stderr
    assert not data.exists()
    data.mkdir()
    (data / "PG_VERSION").write_text("18")
    done = does("bring-back", str(copies), str(data), "end")
    assert (done.returncode, "is not empty" in done.stderr) == (2, True)
    assert does("bring-back", str(copies), str(tmp_path / "other"), "last tuesdayish").returncode != 0


# ── what judges, books and erases after it ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["opened", "waiting", "unknown"])
def test_at_rest_a_payment_whose_end_is_open_is_judged(status: str) -> None:
    here = paid(status=status, captured_minor=0)
    assert judge(here, row()).moving
    (found,) = judge(here, row(), look=AT_REST).found
    assert (found.type, status in found.text) == ("status_differs", True)
    assert types(judge(here, look=AT_REST)) == [], "not charged there, and nobody says that it was"


def test_at_rest_a_refund_that_was_just_begun_is_judged() -> None:
    here = paid()
    begun = returned(here, status="pending", created_at=LOOK.now - timedelta(minutes=1))
    rows = (row(), row("refund", "10.00", refund_id=str(begun.refund_id)))
    assert judge(here, *rows, refunds=[begun]).moving
    assert types(judge(here, *rows, refunds=[begun], look=AT_REST)) == ["refund_missing_here"]
    assert types(judge(here, rows[0], refunds=[begun], look=AT_REST)) == [], "it will be sent when the workers run"


@pytest.mark.parametrize("text", ["{}", "[]", "no list", '{"lines": [{"act": "buyer.forget"}]}', '{"lines": 7}'])
def test_what_is_no_list_of_the_forgotten_names_nobody(tmp_path: Path, text: str) -> None:
    file = tmp_path / "forgotten.json"
    file.write_text(text)
    with pytest.raises(CommandError, match="is no list of"):
        erasures(file, None)
    with pytest.raises(CommandError, match="is no list of"):
        erasures(tmp_path / "nowhere.json", None)


def test_the_forgotten_of_one_merchant_can_be_named_alone(tmp_path: Path) -> None:
    file = tmp_path / "forgotten.json"
    lines = [{"merchant_id": each, "act": "buyer.forget", "subject": "buyer:7"} for each in ("1", "2", "1")]
    file.write_text(json.dumps({"lines": lines}) + "\n")
    assert [each.merchant_id for each in erasures(file, None)] == ["1", "2"]
    assert [each.merchant_id for each in erasures(file, "2")] == ["2"]


def test_other_acts_and_strangers_in_the_list_are_passed_over(tmp_path: Path, kassa_dsn: str) -> None:
    lines = [
        {"merchant_id": "1", "act": "key.revoke", "subject": "key:7"},
        {"merchant_id": "1", "act": "buyer.forget", "subject": "buyer:nobody-here"},
        {"merchant_id": "nobody", "act": "buyer.forget", "subject": "guest:00"},
    ]
    file = tmp_path / "forgotten.json"
    file.write_text(json.dumps({"lines": lines}) + "\n" + json.dumps({"lines": lines}))
    done = run(tmp_path / "home", "forget", "--again", str(file), "--yes", "--json", DATABASE_URL=kassa_dsn)
    assert (done.returncode, json.loads(done.stdout)["merchants"]) == (0, [])
    assert rig.query(kassa_dsn, "SELECT 1 FROM audit_log WHERE act = 'buyer.forget'") == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("forget", "--user", "1", "--again", "x.json"), "name the buyer with --user"),
        (("payments", "refund", PAYMENT, "--given", "re_1", "--key", "a-key-of-mine"), "--given needs no --key"),
        (("payments", "refund", PAYMENT, "--given", " "), "--given is the provider's own id"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, kassa_dsn: str, words: tuple[str, ...], why: str) -> None:
    assert why in refused(run(tmp_path / "home", *words, DATABASE_URL=kassa_dsn))

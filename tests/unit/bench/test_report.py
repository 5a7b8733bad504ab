"""What a run of the bench says: ratios pair by pair, a page and a picture made from what is kept, and waiting that hides no pause."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from bench import page, steady
from bench.picture import draw
from bench.report import Row, table
from bench.steady import Steady

DOCS = Path(page.DOCS)


def row(**changed: Any) -> Row:
    given: dict[str, Any] = {
        "number": 1, "what": "ours,", "against": "theirs", "target": 0.5, "ours": [60.0, 50.0, 90.0], "theirs": [100.0, 50.0, 100.0],
        "checks": {"all is well": True},
    }  # fmt: skip
    return Row(**(given | changed))


def test_a_ratio_is_taken_pair_by_pair() -> None:
    assert row().ratios == [0.6, 1.0, 0.9]
    assert row().ratio == 0.9


def test_where_less_is_better_the_ratio_says_how_often_it_fits() -> None:
    memory = row(ours=[100.0, 160.0], theirs=[200.0, 200.0], at_most=True, unit="MB", target=1)
    assert memory.ratios == [2.0, 1.25]


def test_a_row_below_its_target_and_a_check_that_failed_are_seen() -> None:
    said = table({"python": "3.11"}, [row(ours=[1.0, 1.0, 1.0], checks={"all is well": False})])
    assert "BELOW TARGET" in said
    assert "NOT all is well" in said


def test_the_picture_is_a_picture_and_says_every_row() -> None:
    drawn = draw([row().as_json(), row(number=2, what="a < b", ours=[900.0] * 3).as_json()], "Kassa & others")
    said = " ".join(ET.fromstring(drawn).itertext())
    assert "a < b" in said
    assert "9 →" in said
    assert "prefers-color-scheme: dark" in said


def test_page_and_picture_are_those_of_what_is_kept() -> None:
    kept = json.loads((DOCS / "bench.json").read_text())
    for name, text in page.documents(kept).items():
        assert (DOCS / name).read_text() == text, "python -m bench.page"


def test_rows_that_were_not_measured_now_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "DOCS", tmp_path)
    for number, ours in ((1, 60.0), (5, 70.0), (1, 80.0)):
        page.record({"at": "2026-01-01", "machine": {"kassa": "0.1.0"}, "rows": [row(number=number, ours=[ours] * 3).as_json()]})
    rows = json.loads((tmp_path / "bench.json").read_text())["releases"]["0.1.0"]["rows"]
    assert [(each["row"], each["ours"][0]) for each in rows] == [(1, 80.0), (5, 70.0)]
    assert re.search(r"\| 1 \| ours \| theirs \| 0\.80 ", (tmp_path / "bench.md").read_text())


async def test_whoever_comes_while_the_server_pauses_waits_from_when_it_came() -> None:
    """A closed loop would send nothing during the pause and see one slow answer; here every tenth and more of all have waited."""
    pause_s, answered = 0.5, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while head := await reader.read(65536):
            for _ in range(head.count(b"POST ")):
                answered += 1
                if 100 <= answered < 100 + steady.LINES:
                    await paused.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()

    paused = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        running = asyncio.create_task(steady.run(Steady(server.sockets[0].getsockname()[1], "/", "t", ["{}"], 400, 1.0)))
        while answered < 100:
            await asyncio.sleep(0.005)
        await asyncio.sleep(pause_s)
        paused.set()
        waited = await running
    assert waited.statuses == {"200": 400}
    assert waited.times_ms["p99"] > pause_s * 1000 / 2
    assert waited.times_ms["p50"] < waited.times_ms["p99"]

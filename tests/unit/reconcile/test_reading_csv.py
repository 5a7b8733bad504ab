"""A statement as CSV: what may stand in it, and which line is named when it cannot be read."""

from __future__ import annotations

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.reconcile import BadStatement, Row, read_csv

HEAD = "payment_id,kind,amount,currency,occurred_at"
ID = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
GOOD = f"{ID},charge,349.70,USD,2026-01-01T00:00:02Z"


def read(path: Path, text: str | bytes) -> list[Row]:
    path = path / "statement.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_csv(path))


def problem(path: Path, text: str | bytes) -> str:
    with pytest.raises(BadStatement) as caught:
        read(path, text)
    return caught.value.message


def test_a_charge_is_read_exactly(tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"{HEAD}\n{GOOD}\n")
    assert row == Row(2, "charge", Decimal("349.70"), "USD", datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), uuid.UUID(ID))


def test_columns_stand_in_any_order_and_strangers_are_ignored(tmp_path: Path) -> None:
    text = 'Currency;note; Amount ;KIND;Provider_Ref;occurred_at;refund_id\r\neur;"a;b";5;Refund;ch_1;2026-01-31;re_1\r\n'
    (row,) = read(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert (row.kind, row.amount, row.currency, row.provider_ref, row.refund_id) == (
        "refund",
        Decimal("5.00"),
        "EUR",
        "ch_1",
        "re_1",
    )
    assert row.occurred_at == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_key_that_we_sent_names_a_payment_too(tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"provider_key,kind,amount,currency,occurred_at\n{ID}:payment,charge,1,JPY,2026-01-01\n")
    assert (row.name, row.amount) == (f"key:{ID}:payment", Decimal(1))


def test_what_is_no_id_of_ours_is_somebody_elses_reference(tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"{HEAD}\nshop-77,charge,1.00,USD,2026-01-01\n")
    assert (row.payment_id, row.name) == (None, "ref:shop-77")


def test_empty_lines_and_an_empty_statement_are_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, f"{HEAD}\n\n{GOOD}\n\n\n")[0].line == 3
    assert read(tmp_path, f"{HEAD}\n") == []


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("", "line 1 does not name the column kind"),
        ("payment_id,kind,amount,currency", "line 1 does not name the column occurred_at"),
        ("kind,amount,currency,occurred_at", "line 1 names none of the columns payment_id"),
        ("payment_id,kind,kind,amount,currency,occurred_at", "line 1 names a column twice"),
    ],
)
def test_a_first_line_that_does_not_do_is_named(tmp_path: Path, head: str, says: str) -> None:
    assert problem(tmp_path, f"{head}\n{GOOD}\n").startswith(says)


@pytest.mark.parametrize(
    "bad",
    [
        f"{ID},payout,1.00,USD,2026-01-01",
        f"{ID},charge,1.005,USD,2026-01-01",
        f"{ID},charge,-1.00,USD,2026-01-01",
        f"{ID},charge,1e3,USD,2026-01-01",
        f'{ID},charge,"1,50",USD,2026-01-01',
        f"{ID},charge,0.00,USD,2026-01-01",
        f"{ID},charge,NaN,USD,2026-01-01",
        f"{ID},charge,1.5,JPY,2026-01-01",
        f"{ID},charge,1.00,SECRET,2026-01-01",
        f"{ID},charge,1.00,USD,yesterday",
        f"{ID},charge,1.00,USD,0001-01-01T00:00:00+23:59",
        ",charge,1.00,USD,2026-01-01",
        f"{ID},charge,1.00,USD",
        f"{ID},charge,1.00,USD,2026-01-01,more",
        f"{'x' * 201},charge,1.00,USD,2026-01-01",
        "a\tb,charge,1.00,USD,2026-01-01",
        f'{ID},charge,"1.00"x,USD,2026-01-01',
        f"{ID},charge,1.00,USD,2026-01-01\x00",
        f"{ID},charge,{'9' * 70_000},USD,2026-01-01",
    ],
)
def test_a_bad_row_is_named_by_its_line_and_never_by_its_content(tmp_path: Path, bad: str) -> None:
    said = problem(tmp_path, f"{HEAD}\n{GOOD}\n{bad}\n{GOOD}\n")
    assert said.startswith("line 3 ")
    assert not any(cell in said for cell in bad.split(",") if len(cell) > 3 and cell != "charge")


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    assert problem(tmp_path, f"{HEAD}\n{GOOD}\n".encode() + b"\xff\xfe") == "line 3 is not UTF-8"


_zone = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
_rows = st.lists(
    st.tuples(
        st.uuids(),
        st.sampled_from(["charge", "refund"]),
        st.integers(1, 10**12),
        st.sampled_from([("USD", 2), ("JPY", 0), ("KWD", 3)]),
        st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=_zone),  # noqa: DTZ001
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r\n"), max_size=20),
    ),
    max_size=20,
)


@given(_rows, st.sampled_from([",", ";"]), st.booleans())
def test_whatever_a_spreadsheet_writes_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple], delimiter: str, quoted: bool
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(["note", *HEAD.split(",")])
    expected = []
    for payment_id, kind, minor, (currency, places), at, note in rows:
        amount = Decimal(minor).scaleb(-places)
        writer.writerow([note, payment_id, kind, amount, currency, at.isoformat()])
        expected.append((payment_id, kind, amount, currency, at))
    read_again = read(tmp_path_factory.mktemp("csv"), out.getvalue())
    assert [(row.payment_id, row.kind, row.amount, row.currency, row.occurred_at) for row in read_again] == expected

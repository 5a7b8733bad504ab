"""A file of products, read as a whole before anything is written. A mistake names its line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kassa.catalog import Publication
from kassa.catalog.sources.ambassadors import HIGHEST_ID, HIGHEST_PRICE
from kassa.cli.act import money_of
from kassa.cli.show import CommandError

_NEEDED = ("product_id", "name", "price")
_KNOWN = (*_NEEDED, "sku", "images", "stock")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_AMBASSADOR = re.compile(r"[1-9][0-9]{0,18}")
_STOCK = re.compile(r"[0-9]{1,12}")
_IMAGE = re.compile(r"https?://[\x21-\x7e]{1,2000}")
_LONGEST = 255
_MOST = 10_000
"""Products of one file: they are written in one transaction."""


def publications(raw: bytes, currency: str, *, ambassadors: bool = False) -> list[Publication]:
    """The products of a file, CSV with a header or a JSON object a line, with prices in major units of `currency`.

    `ambassadors`: their ids name ambassadors, and nobody counts them. Raises `CommandError`, which names the line, for the first
    that is not right.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CommandError(f"line {line} is not UTF-8") from None
    found: dict[str, tuple[int, Publication]] = {}
    for line, fields in _objects(text) if text.lstrip().startswith("{") else _cells(text):
        made = _publication(line, fields, currency, ambassadors=ambassadors)
        if made.product_id in found:
            raise CommandError(f"line {line}: {made.product_id} stands in line {found[made.product_id][0]} already")
        if len(found) == _MOST:
            raise CommandError(f"line {line}: a file has at most {_MOST} products; split it")
        found[made.product_id] = (line, made)
    if not found:
        raise CommandError("there is no product in the file")
    return [made for _, made in found.values()]


def _cells(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    lines = io.StringIO(text, newline="")
    first = lines.readline()
    lines.seek(0)
    reader = csv.reader(lines, delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
    try:
        names = [cell.strip().lower() for cell in next(reader, [])]
        _check_names(names)
        begins = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(names):
                    raise CommandError(f"line {begins} has {len(cells)} cells, and the first line names {len(names)}")
                yield begins, {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
            begins = reader.line_num + 1
    except csv.Error:
        raise CommandError(f"line {reader.line_num} cannot be read as CSV") from None


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in _KNOWN:
            raise CommandError(f"line 1 names a column that is not one of {', '.join(_KNOWN)}")
        if names.count(name) > 1:
            raise CommandError(f"line 1 names the column {name} twice")
    for name in _NEEDED:
        if name not in names:
            raise CommandError(f"line 1 does not name the column {name}")


def _objects(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            # Numbers stay as they are typed: a price never goes through a binary fraction.
            read = json.loads(row, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            raise CommandError(f"line {line} is not a JSON object that names each member once") from None
        if not isinstance(read, dict):
            raise CommandError(f"line {line} is not a JSON object")
        yield line, {name: _text(line, name, value) for name, value in read.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def _text(line: int, name: str, value: object) -> str:
    """A member as the cell that it would be."""
    if name not in _KNOWN:
        raise CommandError(f"line {line} has a member that is not one of {', '.join(_KNOWN)}")
    if value is None:
        return ""
    if name == "images" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise CommandError(f"line {line}: {name} must be {'a list of addresses' if name == 'images' else 'text or a number'}")
    return value.strip()


def _publication(line: int, fields: Mapping[str, str], currency: str, *, ambassadors: bool) -> Publication:
    product_id, name, sku, stock = (fields.get(each, "") for each in ("product_id", "name", "sku", "stock"))
    if not _ID.fullmatch(product_id):
        raise CommandError(f"line {line}: product_id must be 1 to 50 letters, digits and _ . -")
    if not (1 <= len(name) <= _LONGEST and name.isprintable()):
        raise CommandError(f"line {line}: name must be 1 to {_LONGEST} printable characters")
    if len(sku) > _LONGEST or not sku.isprintable():
        raise CommandError(f"line {line}: sku must be at most {_LONGEST} printable characters")
    if stock and not _STOCK.fullmatch(stock):
        raise CommandError(f"line {line}: stock must be a whole number of pieces, or empty where nobody counts")
    images = fields.get("images", "").split()
    if any(not _IMAGE.fullmatch(each) for each in images):
        raise CommandError(f"line {line}: images must be addresses that begin with http:// or https://")
    price = money_of(fields.get("price", ""), currency, f"line {line}: price")
    made = Publication(product_id, name, price, int(stock) if stock else None, images, sku or None)
    if ambassadors:
        _check_ambassador(line, made)
    return made


def _check_ambassador(line: int, made: Publication) -> None:
    if not _AMBASSADOR.fullmatch(made.product_id) or int(made.product_id) > HIGHEST_ID:
        raise CommandError(f"line {line}: product_id must name an ambassador: a whole number from 1")
    if not 1 <= made.price.minor <= HIGHEST_PRICE:
        raise CommandError(
            f"line {line}: price of an ambassador must be above zero and at most {Decimal(HIGHEST_PRICE).scaleb(-2)}"
        )
    if made.stock is not None:
        raise CommandError(f"line {line}: nobody counts ambassadors; leave stock empty")

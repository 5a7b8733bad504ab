"""`kassa products`: a catalogue from a file, all of it or nothing; the same file again changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run
from typer.testing import CliRunner, Result

from kassa.cli.app import app
from kassa.cli.product_file import publications
from kassa.cli.show import CommandError
from kassa.kit.money import Money

SECRET = "c2l4dHktZm91ciBiaXRzIHRpbWVzIGZvdXIgYXJlIHQ="
CSV = """product_id,sku,name,price,images,stock
tea,T-1,"Tea, green",4.99,https://example.com/a.jpg https://example.com/b.jpg,120
pot,,Pot,20,,
"""
SOLD = "SELECT product_id, sku, name, price_minor, images, sold FROM products ORDER BY product_id"
STOCK = "SELECT product_id, available FROM stock_levels ORDER BY product_id"
ACTS = "SELECT act, what FROM audit_log ORDER BY place"


class Shop:
    """A production database with an open shop, and an operator who types."""

    def __init__(self, home: Path, dsn: str) -> None:
        self.home, self.dsn = home, dsn
        self.settings = {"DATABASE_URL": dsn, "PRODUCTION": "true", "KASSA_SECRET": SECRET}

    def gives(self, *words: str, **more: str) -> Result:
        """A command's end, given in this process."""
        environment = rig.clean_environment(**{"KASSA_HOME": str(self.home), **self.settings, **more})
        return CliRunner().invoke(app, words, env=environment)

    def types(self, *words: str) -> Any:
        """What a command says with --json."""
        done = self.gives(*words, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    def no(self, *words: str, **more: str) -> str:
        """The line with which it is refused."""
        done = self.gives(*words, **more)
        assert isinstance(done.exception, CommandError), done.output
        return str(done.exception)

    def asks(self, sql: str) -> list[dict[str, Any]]:
        """All rows of one statement."""
        return rig.query(self.dsn, sql)


@pytest.fixture
def shop(short_home: Path, database_server: rig.DatabaseServer) -> Shop:
    made = Shop(short_home, database_server.fresh())
    made.types("channels", "open", "shop", "--name", "Corner Shop", "--currency", "EUR", "--method", "credit_card")
    made.asks("DELETE FROM audit_log")
    made.asks("DELETE FROM audit_heads")
    return made


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "products.csv").write_text(text)
        return str(tmp_path / "products.csv")

    return write


def test_a_file_is_published_and_its_repeat_changes_nothing(shop: Shop, file: Callable[[str], str]) -> None:
    publish = ("products", "publish", file(CSV))
    assert shop.types(*publish, "--why", "we begin") == {"added": ["tea", "pot"], "changed": [], "unchanged": []}
    images = ["https://example.com/a.jpg", "https://example.com/b.jpg"]
    there = shop.asks(SOLD)
    assert there == [
        {"product_id": "pot", "sku": "pot", "name": "Pot", "price_minor": 2000, "images": [], "sold": True},
        {"product_id": "tea", "sku": "T-1", "name": "Tea, green", "price_minor": 499, "images": images, "sold": True},
    ]
    assert shop.asks(STOCK) == [{"product_id": "tea", "available": 120}]
    assert shop.asks("SELECT product_id, kind, quantity FROM stock_journal") == [
        {"product_id": "tea", "kind": "initial", "quantity": 120}
    ]
    written = "SELECT product_id, xmin::text FROM products ORDER BY product_id"
    rows = shop.asks(written)
    assert shop.types(*publish) == {"added": [], "changed": [], "unchanged": ["tea", "pot"]}
    assert shop.asks(written) == rows
    assert [each["act"] for each in shop.asks(ACTS)] == ["product.publish"]
    listed = shop.types("products", "list")["products"]
    assert [(each["product_id"], each["price"], each["stock"]) for each in listed] == [
        ("pot", "20.00 EUR", None),
        ("tea", "4.99 EUR", 120),
    ]


def test_what_is_there_gets_the_files_price_and_keeps_its_stock(shop: Shop, file: Callable[[str], str]) -> None:
    shop.types("products", "publish", file(CSV))
    shop.asks("UPDATE stock_levels SET available = 7 WHERE product_id = 'tea'")
    again = file(CSV.replace("4.99", "5.49") + "cup,,Cup,3,,10\n")
    assert shop.types("products", "publish", again) == {"added": ["cup"], "changed": ["tea"], "unchanged": ["pot"]}
    assert shop.asks("SELECT price_minor FROM products WHERE product_id = 'tea'") == [{"price_minor": 549}]
    assert shop.asks(STOCK) == [{"product_id": "cup", "available": 10}, {"product_id": "tea", "available": 7}]
    told = shop.asks(ACTS)[-1]
    what = told["what"] if isinstance(told["what"], dict) else json.loads(told["what"])
    assert (told["act"], what["added"], what["changed"], len(what["sha256"])) == ("product.publish", 1, 1, 64)


def test_what_is_withdrawn_is_sold_no_longer_until_it_is_published_again(shop: Shop, file: Callable[[str], str]) -> None:
    publish = ("products", "publish", file(CSV))
    shop.types(*publish)
    assert shop.no("products", "withdraw", "tea", "tee") == "channel shop has no product tee; nothing was withdrawn"
    assert len(shop.types("products", "list")["products"]) == 2
    assert shop.types("products", "withdraw", "tea") == {"withdrawn": ["tea"], "unchanged": []}
    assert shop.types("products", "withdraw", "tea", "tea") == {"withdrawn": [], "unchanged": ["tea"]}
    assert [each["product_id"] for each in shop.types("products", "list")["products"]] == ["pot"]
    assert [each["act"] for each in shop.asks(ACTS)] == ["product.publish", "product.withdraw"]
    assert shop.types(*publish) == {"added": [], "changed": ["tea"], "unchanged": ["pot"]}
    assert len(shop.types("products", "list")["products"]) == 2


def test_a_mistake_names_its_line_and_nothing_is_written(shop: Shop, file: Callable[[str], str]) -> None:
    says = shop.no("products", "publish", file(CSV + "cup,,Cup,3.999,,\n"))
    assert says == "line 4: price: has more decimals than EUR"
    assert (shop.asks(SOLD), shop.asks(ACTS)) == ([], [])


def test_where_nothing_is_published(shop: Shop, file: Callable[[str], str]) -> None:
    good = file(CSV)
    assert shop.no("products", "publish", good, "--channel", "ambassadors").startswith("there is no channel ambassadors")
    assert "cannot be read" in shop.no("products", "publish", good + ".not")
    elsewhere = {"PRODUCT_SERVICE_URL": "http://127.0.0.1:9"}
    assert "another service" in shop.no("products", "publish", good, **elsewhere)
    assert "another service" in shop.no("products", "withdraw", "tea", **elsewhere)
    assert shop.asks(SOLD) == []


def test_people_read_a_table(shop: Shop, file: Callable[[str], str]) -> None:
    many = "product_id,name,price\n" + "".join(f"p{number},[/] {number},1\n" for number in range(12))
    done = shop.gives("products", "publish", file(many))
    assert done.exit_code == 0, done.exception
    assert "added" in done.stdout
    assert "p9, and 2 more" in done.stdout
    assert "[/] 11" in shop.gives("products", "list").stdout


def test_as_a_program_it_ends_with_one_line(shop: Shop, file: Callable[[str], str]) -> None:
    done = run(shop.home, "products", "publish", file(CSV + "a b,,Cup,3,,\n"), **shop.settings)
    assert refused(done) == "line 4: product_id must be 1 to 50 letters, digits and _ . -"
    assert not shop.home.exists(), "production makes no folder of its own"


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_lines_are_read_as_they_are_typed() -> None:
    raw = b"""
{"product_id": "tea", "name": "Tea", "price": 4.10, "images": ["https://example.com/a.jpg"], "stock": 3}
{"product_id": 7, "name": "Seven", "price": "0.1", "sku": null}
"""
    tea, seven = publications(raw, "EUR")
    assert (tea.price, tea.stock, list(tea.images), tea.sku) == (Money(410, "EUR"), 3, ["https://example.com/a.jpg"], None)
    assert (seven.product_id, seven.price, seven.stock) == ("7", Money(10, "EUR"), None)


def test_a_table_of_another_hand_is_read() -> None:
    raw = '\ufeffName;PRICE;product_id\r\n"two\r\n'.encode()
    with pytest.raises(CommandError, match=r"^line 2 cannot be read as CSV$"):
        publications(raw, "JPY")
    (pot,) = publications("\ufeffName;PRICE;product_id\r\nPot;500;pot\r\n\r\n".encode(), "JPY")
    assert (pot.product_id, pot.name, pot.price) == ("pot", "Pot", Money(500, "JPY"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 does not name the column product_id"),
        ("product_id,name,price\n", "there is no product in the file"),
        ("product_id,name\n", "line 1 does not name the column price"),
        ("product_id,name,price,colour\n", "line 1 names a column that is not one of"),
        ("product_id,name,price,name\n", "line 1 names the column name twice"),
        ("product_id,name,price\ntea,Tea\n", "line 2 has 2 cells, and the first line names 3"),
        ("product_id,name,price\ntea,Tea,1\n\na b,Tea,1\n", "line 4: product_id must be"),
        ("product_id,name,price\ntea,,1\n", "line 2: name must be"),
        ("product_id,name,price\ntea,a\x07,1\n", "line 2: name must be"),
        ("product_id,name,price\ntea,Tea,\n", "line 2: price must be an amount"),
        ("product_id,name,price\ntea,Tea,-1\n", "line 2: price must be an amount"),
        ("product_id,name,price\ntea,Tea,1\ntea,Tea,1\n", "line 3: tea stands in line 2 already"),
        ('product_id,name,price\ntea,"Te\na",1\n', "line 2: name must be"),
        ("product_id,name,price,stock\ntea,Tea,1,-1\n", "line 2: stock must be"),
        ("product_id,name,price,images\ntea,Tea,1,javascript:1\n", "line 2: images must be"),
        ('{"product_id":"a","name":"A","price":1}\nx', "line 2 is not a JSON object"),
        ('{"product_id":"a","name":"A","name":"B","price":1}', "line 1 is not a JSON object that names each member once"),
        ('{"product_id":"a","name":"A","price":true}', "line 1: price must be text or a number"),
        ('{"product_id":"a","name":"A","price":NaN}', "line 1: price must be an amount"),
        ('{"product_id":"a","name":"A","price":1e2}', "line 1: price must be an amount"),
        ('{"product_id":"a","name":"A","price":1,"images":[true]}', "line 1: images must be a list of addresses"),
        ('{"product_id":"a","name":"A","price":1,"weight":1}', "line 1 has a member that is not one of"),
    ],
)
def test_a_line_that_is_not_right_is_named(text: str, says: str) -> None:
    with pytest.raises(CommandError) as refused_:
        publications(text.encode(), "EUR")
    assert str(refused_.value).startswith(says)


def test_a_line_that_is_no_text_is_named() -> None:
    with pytest.raises(CommandError, match=r"^line 2 is not UTF-8$"):
        publications(b"product_id,name,price\ntea,\xff,1\n", "EUR")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("01,A,1,", "line 2: product_id must name an ambassador"),
        ("9223372036854775808,A,1,", "line 2: product_id must name an ambassador"),
        ("1,A,0,", "line 2: price of an ambassador"),
        ("1,A,1,5", "line 2: nobody counts ambassadors"),
    ],
)
def test_an_ambassador_that_could_not_be_bought_is_refused(row: str, says: str) -> None:
    with pytest.raises(CommandError) as refused_:
        publications(f"product_id,name,price,stock\n{row}\n".encode(), "UZS", ambassadors=True)
    assert str(refused_.value).startswith(says)


def test_a_file_has_an_end() -> None:
    rows = "".join(f"p{number},P,1\n" for number in range(10_001))
    with pytest.raises(CommandError, match=r"^line 10002: a file has at most 10000 products"):
        publications(f"product_id,name,price\n{rows}".encode(), "EUR")

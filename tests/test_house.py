"""The style of the house as a test: lengths, arrows, faces and words.

An exception is a named line in one of the lists below; a list may only get shorter.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "kassa"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "versions" not in path.parts)
ROOMS = (
    "events",
    "ledger",
    "cases",
    "audit",
    "cardwatch",
    "catalog",
    "payments",
    "payments.requests",
    "payments.payme",
    "orders",
    "merchants",
    "staff",
    "approvals",
    "carts",
    "webhooks",
    "webhooks.delivery",
    "notices",
    "checkout",
    "collect",
    "collect.payme",
    "reconcile",
    "timeline",
    "desk",
)
MONEY = ("kit/money.py", "ledger", "catalog", "payments", "orders", "merchants", "carts", "checkout", "collect", "reconcile")

LONGEST_FUNCTION, LONGEST_FILE, WIDEST_FACE = 70, 500, 12
LONGER_FUNCTIONS: set[str] = set()
LONGER_FILES: set[str] = set()
WIDER_FACES = {
    "kassa.catalog",  # offers, stock and publishing: three verbs' worth of nouns
    "kassa.payments",  # refunds live with payments until they need a room of their own
    "kassa.orders",
    "kassa.carts",
    "kassa.checkout",
    "kassa.payments.requests",  # what is asked of the store by reference, key and page
    "kassa.payments.payme",  # attempts, cashboxes and receipts, for one conductor
    "kassa.merchants",
    "kassa.webhooks",  # what a merchant may do with an endpoint and its deliveries
    "kassa.collect",  # five verbs, their wishes and their refusals
}
COMPARED_OPENLY = {
    "catalog/shelf.py",  # which pages in Redis are of now: no stranger can ask
    "settings/production.py",  # an operator's own two secrets, at the start
}
INSIDE_ALLOWED = {
    "model",
    "wishes",
    "sources",
    "providers",
    "ways",
    "requests",
    "payme",
    "delivery",
    "catalogue",
    "schemas",
    "feed",
    "broker",
    "relay",
    "consume",
}
"""Of another room one may see the package itself, its nouns, what a port is made of, and a room inside it with a face of its own.

The ways out of the outbox (`feed`, `broker`, `relay`, `consume`) are doors of their own, so that not everybody who records an event loads them.
"""


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_function_fits_one_screen(path: Path) -> None:
    long = {
        f"{_name(path)}:{function.name}"
        for function in _functions(_tree(path))
        if (function.end_lineno or 0) - function.lineno + 1 > LONGEST_FUNCTION
    }
    assert long <= LONGER_FUNCTIONS


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_refuses_a_second_verb(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE or _name(path) in LONGER_FILES


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_module_and_public_name_says_what_it_is(path: Path) -> None:
    tree = _tree(path)
    assert ast.get_docstring(tree) or not path.read_text().strip(), "a module without a docstring"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("room", [f"kassa.{room}" for room in ROOMS])
def test_a_room_has_a_small_face(room: str) -> None:
    names = importlib.import_module(room).__all__
    assert len(names) <= WIDEST_FACE or room in WIDER_FACES
    assert len(names) <= 2 * WIDEST_FACE + 6


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_another_room_is_entered_by_its_door(path: Path) -> None:
    """`from kassa import payments` or its nouns; never another room's verb files or store."""
    here = _name(path).split("/")[0]
    if here in {"bootstrap.py", "cli", "verify"}:
        return
    for name in _imports(path):
        parts = name.split(".")
        if len(parts) < 3 or parts[0] != "kassa" or parts[1] not in ROOMS or parts[1] == here:
            continue
        room = SOURCE / parts[1]
        is_inside = (room / f"{parts[2]}.py").exists() or (room / parts[2]).is_dir()
        exported = parts[2] in getattr(importlib.import_module(f"kassa.{parts[1]}"), "__all__", ())
        assert not is_inside or exported or parts[2] in INSIDE_ALLOWED, f"{_name(path)} looks into {name}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_there_is_no_drawer_for_everything(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "service", "services", "manager"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_only_the_database_commits(path: Path) -> None:
    if _name(path) in {"kit/database.py", "migrate.py"} or _name(path).startswith(("sandbox/", "cli/", "migrations/")):
        return
    statements = [node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not any(re.fullmatch(r"\s*(BEGIN|COMMIT|ROLLBACK)\b.*", text, re.DOTALL) for text in statements)


@pytest.mark.parametrize("path", [path for path in FILES if _name(path).startswith(MONEY)], ids=_name)
def test_no_binary_fraction_comes_near_money(path: Path) -> None:
    """`float` may be seconds (a parameter named for it), never an amount: no call of float(), no amount of that type."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "float", f"float() in {_name(path)}:{node.lineno}"
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None and "float" in ast.unparse(node.annotation):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            assert name.endswith(("_s", "_at", "wait", "until")), f"{name} in {_name(path)}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    if _name(path).startswith("settings/") or _name(path).startswith(("cli/", "kit/embedded")):
        return
    assert "os.environ" not in path.read_text()
    assert "getenv" not in path.read_text()


_SECRET = re.compile(
    r"(?i)(?<![a-z])(secrets?|signatures?|passwords?|api_?keys?|hmac|digests?|tokens?|credentials?|cvv|payme_key|signed|expected)(?![a-z])"
)
"""Names, and parts of names between underscores, of what a stranger must not be able to guess byte by byte."""


def leaking(tree: ast.AST) -> list[int]:
    """The lines that compare a secret in a time that tells how much of it was right: `==`, `in`, `startswith`, a `match`, a look-up."""
    found = []
    for node in ast.walk(tree):
        sides: list[ast.expr] = []
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) and not side.value for side in sides):
                continue  # whether there is one at all
            if all(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
                sides = [node.left]
            elif any(isinstance(side, ast.Constant) and isinstance(side.value, int) for side in sides):
                continue  # how long or how many
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            compares = node.func.attr in {"startswith", "endswith", "__eq__", "find", "index", "count"} and len(node.args) > 0
            constant = compares and isinstance(node.args[0], ast.Constant | ast.Tuple)
            sides = [node.func.value, node.args[0]] if compares and not constant else []
        elif isinstance(node, ast.Match):
            sides = [node.subject]
        if any(_is_secret(side) for side in sides):
            found.append(node.lineno)
    return found


def _is_secret(side: ast.expr) -> bool:
    """Whether what is compared is named for a secret: a name, an attribute, an item, or what a call with such a name gives."""
    match side:
        case ast.Name():
            return bool(_SECRET.search(side.id))
        case ast.Attribute():
            return bool(_SECRET.search(side.attr))
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return bool(_SECRET.search(name)) or _is_secret(side.value)
        case ast.Call(func=ast.Attribute(attr="digest" | "hexdigest")):
            return True
        case ast.Call(func=ast.Attribute(attr="encode" | "decode" | "strip" | "lower") as of):
            return _is_secret(of.value)
        case _:
            return False


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_secrets_are_compared_in_constant_time(path: Path) -> None:
    lines = leaking(_tree(path))
    assert not lines or _name(path) in COMPARED_OPENLY, f"{_name(path)}: {lines}"


@pytest.mark.parametrize(
    ("code", "leaks"),
    [
        ("given == secret", True),
        ("self._secret != given", True),
        ("settings.jwt_secret == given", True),
        ("old_secret == new", True),
        ("hmac.new(key, body, 'sha256').hexdigest() == given", True),
        ("headers['x-signature'] == expected", True),
        ("api_key.encode() == known", True),
        ("signature in known_ones", True),
        ("given.startswith(token)", True),
        ("token.startswith('sk_')", False),
        ("match password:\n case 'x': pass", True),
        ("password == 'hunter2'", True),
        ("hmac.compare_digest(secret, given)", False),
        ("secret == ''", False),
        ("len(secret) == 32", False),
        ("secret is None", False),
        ("tokens == 3", False),
        ("tokenised == other", False),
        ("'secret' in names", False),
    ],
)
def test_the_rule_about_secrets_finds_what_is_planted(code: str, *, leaks: bool) -> None:
    assert bool(leaking(ast.parse(code))) == leaks


def test_every_status_can_be_reached_and_left() -> None:
    from kassa.checkout.model import MOVES as CHECKOUT
    from kassa.orders.model import MOVES as ORDER
    from kassa.payments.model import MOVES as PAYMENT

    ends = {"completed", "delivered", "cancelled", "refunded", "reversed"}
    for moves in (CHECKOUT, ORDER, PAYMENT):
        assert moves.reachable() == moves.statuses()
        left = {at for at, _ in moves.table}
        assert moves.statuses() - left <= ends


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a machine, no package index, in any file that is tracked."""
    forbidden = re.compile(r"(?<![\w./-])/(?:work|farm|root|home/\w+)/|index-url|find-links|files\.pythonhosted|pypi\.org")
    for folder in ("src", "tests", "docs", "bench", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".toml", ".json", ".sh", ".txt"} and path.name != "test_house.py":
                found = forbidden.search(path.read_text(errors="replace"))
                assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_the_readme_is_short_and_names_both_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert "make run" in text
    assert "make test" in text


def test_a_command_changes_something_through_one_door() -> None:
    """`act.changing` writes the line of the audit log with the change; a transaction opened elsewhere would have none."""
    for path in FILES:
        if _name(path).startswith("cli/") and path.name != "act.py":
            assert ".transaction(" not in path.read_text(), _name(path)

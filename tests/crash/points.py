"""Every kill point there is, and the story that reaches it; found in the source, so that none is forgotten.

A name given to a transaction (`ctx.db.transaction("checkout.start")`) makes two points, before and after its commit. A name given to an
outside call (`act="payment"`) makes two more, before and after it. Names may be handed on: a function that passes one of its own
parameters on as such a name is itself asked for names, wherever it is called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "kassa"
ELSEWHERE = ("sandbox",)
"""The sandbox plays strangers: its transactions are of a book of its own."""

TRANSACTION, CALL = "transaction", "call"
MOMENTS = {TRANSACTION: ("before_commit", "after_commit"), CALL: ("before_call", "after_call")}

NOT_BY_A_STORY = {
    "bank": "the pay page of a development server plays the sandbox's bank by it; nothing of ours is written there",
    "card.remove": "nothing calls it yet but the client's own tests; repeated, it is refused",
    "checkout.wait": "says when a held checkout is looked at again, and nothing else; lost, it is looked at again at once",
    "seed": "reached while a development server starts: test_a_start_that_dies_while_it_loads_the_demo_shop",
    "verify": "reads, and writes nothing",
    "verify.take": "the watch over the invariants: flows/test_watch.py kills it",
    "verify.note": "the watch over the invariants: flows/test_watch.py kills it",
    "audit.check": "reads one snapshot and writes nothing; run by hand, beside the shop",
    "catalog.change": "a command of an operator: test_commands.py kills it",
    "cases.close": "a command of an operator: test_commands.py kills it",
    "checkout.forget": "a command of an operator: test_commands.py kills it",
    "checkout.guests": "reads one snapshot for a command of an operator and writes nothing",
    "collect.decide": "a command of an operator: test_commands.py kills it",
    "merchants.change": "a command of an operator: test_commands.py kills it",
    "merchants.route": "a command of an operator: test_commands.py kills it",
    "payme.cashbox": "a command of an operator: test_commands.py kills it",
    "reconcile.note": "a command of an operator: test_commands.py kills it",
    **dict.fromkeys(
        (
            "staff.sign_in",
            "staff.sign_out",
            "approvals.ask",
            "approvals.decide",
            "approvals.outcome",
            "catalog.adjust",
            "notices.again",
        ),
        "a form of the back office: test_office.py kills it",
    ),
    "staff.change": "a command of an operator: test_commands.py kills it",
    "secrets.reseal": "a command of an operator: test_commands.py kills it",
}
"""Names that no story reaches, each with the reason or the test that reaches it."""


@dataclass(frozen=True)
class Door:
    """Where a name is taken: the argument at this place, or of this keyword, of calls of `function`."""

    kind: str
    function: str
    place: int | None
    keyword: str
    file: Path | None = None
    """The only file that can call it, for a function whose name begins with `_`."""
    said: tuple[int, str] | None = None
    """Only calls whose argument at this place is this text."""


ROOTS = (
    Door(TRANSACTION, "transaction", 0, "name"),
    Door(TRANSACTION, "at_once", 0, "name"),  # one statement that is a whole transaction
    Door(CALL, "call", None, "act"),
    Door(CALL, "reach", 0, "name", said=(1, "before_call")),  # what is not called through a neighbour says so itself
)


@cache
def names_in_source() -> dict[str, set[str]]:
    """Kind to names. Fails on a name that cannot be read from the source."""
    trees = {file: _tree(file) for file in _files()}
    constants = _constants(trees)
    found: dict[str, set[str]] = {TRANSACTION: set(), CALL: set()}
    doors, done = list(ROOTS), set()
    while doors:
        door = doors.pop()
        if door in done:
            continue
        done.add(door)
        for file, tree in trees.items():
            if door.file in {None, file}:
                doors += _through(door, file, tree, constants, found[door.kind])
    return found


@cache
def _files() -> list[Path]:
    return [file for file in sorted(SOURCE.rglob("*.py")) if file.relative_to(SOURCE).parts[0] not in ELSEWHERE]


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _through(door: Door, file: Path, tree: ast.Module, constants: dict[str, str], found: set[str]) -> Iterator[Door]:
    for function, call in _calls(tree, door.function):
        if door.said and not _says(call, *door.said):
            continue
        given = _argument(door, call)
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            found.add(given.value)
        elif isinstance(given, ast.Name) and function is not None and given.id in (parameters := _parameters(function)):
            place = parameters.index(given.id) - (parameters[0] in {"self", "cls"})
            private = function.name.startswith("_")
            yield Door(door.kind, function.name, place, given.id, file if private else None)
        elif isinstance(given, ast.Name) and given.id in constants:
            found.add(constants[given.id])
        elif given is not None:
            raise AssertionError(f"{file.name}:{call.lineno}: this name cannot be read: {ast.unparse(call)[:100]}")


def _says(call: ast.Call, place: int, text: str) -> bool:
    given = call.args[place] if len(call.args) > place else None
    return isinstance(given, ast.Constant) and given.value == text


def _argument(door: Door, call: ast.Call) -> ast.expr | None:
    named = next((each.value for each in call.keywords if each.arg == door.keyword), None)
    if named is None and door.place is not None and len(call.args) > door.place:
        return call.args[door.place]
    return named


def _calls(tree: ast.Module, name: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, ast.Call]]:
    """Calls of `name`, each with the innermost function around it."""

    def walk(
        node: ast.AST, around: ast.FunctionDef | ast.AsyncFunctionDef | None
    ) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, ast.Call]]:
        if isinstance(node, ast.Call) and _called(node) == name:
            yield around, node
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else around
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    return walk(tree, None)


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    return [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _constants(trees: dict[Path, ast.Module]) -> dict[str, str]:
    """Module constants that are text, by name."""
    return {
        target.id: node.value.value
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@cache
def _reached() -> list[ast.Call]:
    return [call for file in _files() for _, call in _calls(_tree(file), "reach")]


def points_of(kind: str, name: str) -> list[str]:
    """The two points of a name; of a name that says itself where it is, those that it says."""
    told = {moment for call in _reached() for moment in MOMENTS[kind] if _says(call, 0, name) and _says(call, 1, moment)}
    return [f"{name}:{moment}" for moment in MOMENTS[kind] if not told or moment in told]

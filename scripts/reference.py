"""Write `docs/reference`: settings, commands, errors, events, metrics, cases and workers, as the code has them.

Every item comes with its description, from where the code keeps it; an item that has none stops the run with its name. Run it
after such a change: `.venv/bin/python scripts/reference.py`. With `--check` nothing is written, and a stale page is named with
exit code 1.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from grpc import StatusCode
from prometheus_client import REGISTRY

import kassa
from kassa.api import errors as door
from kassa.api import openapi
from kassa.api.checkout.problems import REFUSALS, Detail
from kassa.api.dialect import Dialect
from kassa.api.orders.problems import Envelope
from kassa.api.payme.words import CATALOGUE
from kassa.api.payments.problems import Plain
from kassa.api.problems import Problems
from kassa.api.purchases.problems import Brief
from kassa.cli.app import app
from kassa.events.catalogue import STATUS_CHANGES, TYPES
from kassa.events.schemas import DATA, SHAPES, SUBJECTS
from kassa.kit import jsontext, once
from kassa.kit.errors import KassaError
from kassa.pages.office.doubt import MEANINGS
from kassa.reconcile.model import TYPES as DIFFERENCES
from kassa.rpc.problems import ADVICE, LEAVING, TABLE, TOO_LATE
from kassa.settings import Settings
from kassa.workers.clockwork import CLOCKWORK
from kassa.workers.standing import STANDING

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
_MADE = "<!-- Made by scripts/reference.py from the code; do not edit. -->"
_ABOUT = {
    "Settings": """They come from the environment, else from a file `.env` in the current folder. An empty value counts as
        not set. Where a setting has several names the first one that is set wins. What is missing or contradictory stops the
        start with one line that never shows a value. What is secret may stand in a file instead:
        `JWT_SECRET_FILE=/run/secrets/jwt_secret`.""",
    "Commands": """What `kassa --help` and `kassa COMMAND --help` print. Exit codes: 0 done, 1 the answer is no, 2 it
        could not be begun, 130 stopped by hand. Commands that change something write a line into the [audit
        log](../operations.md#the-audit-log).""",
    "Errors": """A program goes by status and `code`; sentences are for people and may change. No answer repeats what was
        sent. Every answer has an `X-Request-Id`; 429, 503 and 409 of a request that is still running have `Retry-After` in
        seconds.""",
    "Checkout": """`{"detail": {"checkout_id": …, "error": …, "message": …, "code": …}}`; malformed input: `detail` is a
        list of `loc`, `msg`, `type`.""",
    "Payments": """`{"detail": …, "code": …}`; malformed input: `detail` is a list of `loc`, `msg`, `type`. A provider's
        report with a wrong signature: 403 `{"error": "invalid_signature"}`; sign the raw bytes of the body.""",
    "Payme": """Payme is answered with status 200 and JSON-RPC errors in three languages; here is the English one. Who is
        refused, and how, stands in [what Payme's calls do](../flows/payme.md#who-is-refused-and-how).""",
    "Events": """What merchants' endpoints are sent, the feed shows and RabbitMQ is given. The envelope is `id`, `type`,
        `version`, `subject`, `sequence`, `occurred_at`, `merchant_id` and `data`. The same as JSON Schema and AsyncAPI:
        [events.asyncapi.json](../apis/events.asyncapi.json). How they travel: [webhooks](../contracts/webhooks.md).""",
    "Metrics": """The figures at `/metrics`, in the format of Prometheus: from this machine, or with `METRICS_TOKEN`. A process also
        shows what the client library knows of it (`process_…`, `python_…`). How they are counted, what to watch and when to be
        woken: [figures, alerts and logs](../observability.md).""",
    "Cases": """What a machine cannot decide is listed once for a person, in the back office (`/office/doubt`) and by
        `kassa payments cases`. What is at stake, and what to do step by step, stands in [operations](../operations.md#cases)
        and, for differences to a provider's statement, under [reconciliation](../operations.md#reconciliation).""",
    "Workers": """What `kassa work` does, in any number of processes at once; `kassa work --only NAME` starts some. Work
        is found by a look and claimed by one statement, so nobody leads it and nothing is lost with a process. See [the
        workers](../operations.md#the-workers).""",
}
"""What stands above the tables; the rest comes from the code."""
_STATES = frozenset({"unknown", "parked", "held", "checkout", "dead_letters", "report"})
"""Meanings in the office's list that are not of cases."""


_ANYWHERE = {
    *(door.UnknownPath, door.WrongVerb, door.TooLarge, door.Unauthorized, door.RateLimited, door.NotInTime, door.InternalError),
    *(door.InvalidInput, jsontext.BadJson, once.InvalidKey, once.KeyReused, once.InProgress),
}
"""Errors that any request may meet, whatever its contract's document names."""
_OF_BUYERS = {door.Unauthorized, door.Forbidden}
"""Errors about tokens of buyers, which merchants' servers do not have."""
_KINDS = frozenset({KassaError, *KassaError.__subclasses__()})


class Undescribed(Exception):
    """Something has no description where the code keeps it; the text names it."""


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings() -> str:
    """Every setting, under the heading that it has in `.env.example`."""
    parts, rows = [], list[tuple[str, ...]]()
    for name, field in Settings.model_fields.items():
        names = [str(choice) for choice in getattr(field.validation_alias, "choices", ())]
        said = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if said.get("section"):
            parts += (
                [_table(("setting", "default", "what it is for"), rows), f"## {said['section']}"]
                if parts
                else [f"## {said['section']}"]
            )
            rows = []
        about = _described(name, field.description)
        secret = "" if field.repr else " *Secret.*"
        rows.append((", ".join(f"`{each}`" for each in names), _default(field.default), about + secret))
    parts.append(_table(("setting", "default", "what it is for"), rows))
    return _page(
        "Settings",
        *parts,
    )


def _default(value: object) -> str:
    if value in (None, "", b"", ()):
        return ""
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`"


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands() -> str:
    """Every command of `kassa` with its arguments and options, as `--help` tells them."""
    root: Any = typer.main.get_command(app)
    parts = []
    for name, command in root.commands.items():
        parts += [f"## kassa {name}", *_command(f"kassa {name}", command)]
        for inner, each in getattr(command, "commands", {}).items():
            parts += [f"### kassa {name} {inner}", *_command(f"kassa {name} {inner}", each)]
    return _page(
        "Commands",
        *parts,
    )


def _command(name: str, command: Any) -> Iterator[str]:
    yield inspect.cleandoc(_described(name, command.help)).strip()
    rows = []
    for each in command.params:
        if each.name == "help":
            continue
        called = (each.metavar or each.name.upper()) if each.param_type_name == "argument" else _option(each)
        rows.append((f"`{called}`", _described(f"{name} {called}", each.help), _standard(each)))
    if rows:
        yield _table(("argument or option", "what it says", "default"), rows)


def _option(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or 'VALUE'}"


def _standard(parameter: Any) -> str:
    """The default; `required` where there is none. Help that names one in words keeps its word."""
    if parameter.required:
        return "required"
    value = parameter.default
    if value in (None, False, ()) or "[default:" in (parameter.help or "") or callable(value):
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`" if value is not True else "on"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Anything(dict[str, Any]):
    """Details of an error of which only its code is wanted."""

    def __missing__(self, key: str) -> Any:
        return []


def errors() -> str:
    """Every code that each contract can answer, with status, sentence, and what a caller does about it."""
    known = _errors()
    parts = [
        "## Orders",
        '`{"success": false, "message": …, "error": {"code": …, "details": …}}`',
        _http("orders", Envelope(), known, lambda told: (told["error"]["code"], told["message"])),
        "## Checkout",
        _line(_ABOUT["Checkout"]),
        _http("checkout", Detail(), known, _of_checkout),
        "A checkout that was begun and refused answers 422 with its `checkout_id`; asked again under its key, it answers the same.",
        _table(
            ("status", "code", "`error`", "what to do"),
            [("422", f"`{code}`", sentence, advice) for code, (sentence, advice) in REFUSALS.items()],
        ),
        "## Purchases",
        '`{"detail": …, "code": …}`',
        _http("purchases", Brief(), known, lambda told: (told["code"], told["detail"])),
        "## Payments and webhooks",
        _line(_ABOUT["Payments"]),
        _http("payments", Plain(), known, _of_payments),
        "## Everything else",
        "`application/problem+json` (RFC 9457) with a member `code`.",
        _http("health", Problems(), known, lambda told: (told["code"], told["detail"])),
        "## gRPC",
        _table(("status", "message", "what to do"), _grpc()),
        "## Payme",
        _line(_ABOUT["Payme"]),
        _table(("code", "message"), [(f"`{code}`", texts["en"]) for code, texts in sorted(CATALOGUE.items())]),
    ]
    return _page(
        "Errors",
        *parts,
    )


def _errors() -> list[type[KassaError]]:
    """Every error that Kassa raises on purpose, general ones first."""
    for module in pkgutil.walk_packages(kassa.__path__, "kassa."):
        if ".migrations." not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[KassaError]] = [KassaError]
    for kind in found:
        found += sorted(
            (each for each in kind.__subclasses__() if each not in found), key=lambda each: (each.__module__, each.__name__)
        )
    return found


def _http(contract: str, dialect: Dialect, known: Sequence[type[KassaError]], read: Callable[[Any], tuple[str, str]]) -> str:
    """What a contract's own table makes of every error, as far as its document names the code, or any request may meet it."""
    documented = _documented(contract)
    rows: dict[tuple[int, str], tuple[str, str]] = {}
    for kind in known:
        if contract == "payments" and kind in _OF_BUYERS:
            continue
        error = _instance(kind)
        answer = dialect.refuse(error)
        code, sentence = read(json.loads(answer.body))
        met = (answer.status, code) in documented or kind in _ANYWHERE
        if met and (answer.status, code) not in rows:
            rows[answer.status, code] = (sentence, _described(f"the error {code}", kind.advice))
    missing = sorted(f"{status} {code}" for status, code in documented - rows.keys())
    if missing:
        raise Undescribed(f"{contract}: no error of the code answers {', '.join(missing)}")
    told = [(str(status), f"`{code}`", *rows[status, code]) for status, code in sorted(rows)]
    return _table(("status", "code", "sentence", "what to do"), told)


def _instance(kind: type[KassaError]) -> Any:
    """An error of this kind as it would be told, without what a real one knows."""
    error: Any = kind.__new__(kind)
    KassaError.__init__(error)
    error.details = _Anything()
    for name, value in {"why": error.message, "allow": "GET", "problems": (), "payment": None}.items():
        if not hasattr(error, name):
            setattr(error, name, value)
    return _Told(error) if kind.__name__ == "PaymentExists" else error


def _Told(error: Any) -> Any:  # noqa: N802 - reads as the thing that it makes
    """`PaymentExists` with a payment that nobody has."""
    error.payment = type("Nobody's", (), {"payment_id": "…", "status": "waiting", "pay_url": None})()
    return error


def _documented(contract: str) -> set[tuple[int, str]]:
    if contract not in openapi.CONTRACTS:
        return set()
    found = set()
    for path in openapi.document(contract)["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    found |= {(int(status), code) for code in re.findall(r"`([a-z_]+)`", answer.get("description", ""))}
    return found


def _of_checkout(told: Any) -> tuple[str, str]:
    detail = told["detail"]
    return ("(a list)", "What is wrong, member by member.") if isinstance(detail, list) else (detail["code"], detail["message"])


def _of_payments(told: Any) -> tuple[str, str]:
    return told["code"], told["detail"] if isinstance(told["detail"], str) else "What is wrong, member by member."


def _grpc() -> Iterator[tuple[str, ...]]:
    messages: dict[StatusCode, list[str]] = {status: [] for status in ADVICE}
    for kind, (status, message) in TABLE.items():
        said = message or ("" if kind in _KINDS else _instance(kind).message)
        messages[status] += [said] if said and said not in messages[status] else []
    for status, message in (LEAVING, TOO_LATE):
        messages[status] += [message] if message not in messages[status] else []
    for status, advice in ADVICE.items():
        yield f"`{status.name}`", " · ".join(messages[status]), _described(f"the gRPC status {status.name}", advice)


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def events() -> str:
    """Every type of event, what it is about, and the shapes of data."""
    rows = [
        (f"`{name}`" + (" •" if name in STATUS_CHANGES else ""), _described(name, about), f"`{SUBJECTS[name.partition('.')[0]]}`",
         f"[{DATA[name]}](#{DATA[name].lower()})")
        for name, about in TYPES.items()
    ]  # fmt: skip
    parts = ["## Types", "• stands at the changes of status that an endpoint gets which names no types.",
             _table(("type", "says", "subject", "data"), rows)]  # fmt: skip
    for name, shape in SHAPES.items():
        members = [
            (f"`{member}`" + ("" if member in shape["required"] else " (optional)"), _kind(each), each.get("description", ""))
            for member, each in shape["properties"].items()
        ]
        parts += [f"## {name}", _described(name, shape.get("description")), _table(("member", "is", "what it says"), members)]
    return _page(
        "Events",
        *parts,
    )


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    words = {"string": {"uuid": "UUID", "date-time": "time"}.get(schema.get("format", ""), "text"), "integer": "whole number"}
    return " or ".join(words.get(kind, kind) for kind in kinds)


# ── metrics, cases, workers ──────────────────────────────────────────────────────────────────────────────────────────


def metrics() -> str:
    """Every figure at `/metrics` that is ours."""
    importlib.import_module("kassa.bootstrap")
    collectors = {id(each): each for each in REGISTRY._names_to_collectors.values()}.values()  # noqa: SLF001 - the registry shows values, not labels
    rows = []
    for collector in collectors:
        labels = getattr(collector, "labels", None)
        labels = labels if isinstance(labels, tuple) else getattr(collector, "_labelnames", ())
        for family in collector.describe() if hasattr(collector, "describe") else ():
            if family.name.startswith("kassa_"):
                name = family.name + ("_total" if family.type == "counter" else "")
                label = ", ".join(f"`{each}`" for each in labels or getattr(family, "_labelnames", ()))
                rows.append((f"`{name}`", family.type, label, _described(name, family.documentation)))
    return _page(
        "Metrics",
        _table(("figure", "kind", "labels", "what it says"), sorted(rows)),
    )


def cases() -> str:
    """Every kind of case."""
    kinds = [kind for kind in MEANINGS if kind not in _STATES and ":" not in kind and kind != "endpoint_disabled"]
    rows = [(f"`{kind}`", _described(kind, MEANINGS[kind])) for kind in kinds]
    rows += [(f"`reconcile_{each}`", _described(each, about)) for each, about in DIFFERENCES.items()]
    return _page(
        "Cases",
        _table(("kind", "what it means"), rows),
    )


def workers() -> str:
    """Every worker, how often it looks, and what it does."""
    rows = [(f"`{each.name}`", "always", _first(each.name, each.work)) for each in STANDING]
    rows += [(f"`{each.name}`", f"every {each.every_s:g} s", _first(each.name, each.act)) for each in CLOCKWORK]
    return _page(
        "Workers",
        _table(("worker", "looks", "what it does"), rows),
    )


def _first(name: str, act: Callable[..., Any]) -> str:
    return _line(_described(f"the worker {name} ({act.__name__})", inspect.getdoc(act)).split("\n\n")[0])


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAGES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "errors": errors,
    "events": events,
    "metrics": metrics,
    "cases": cases,
    "workers": workers,
}


def _described(what: str, text: str | None) -> str:
    if not (text or "").strip():
        raise Undescribed(f"{what} has no description")
    return str(text)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", _MADE, _line(_ABOUT[title]), *(part for part in parts if part)]) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Write the pages, or name those that are stale."""
    stale = 0
    for name, made in PAGES.items():
        file = FOLDER / f"{name}.md"
        try:
            text = made()
        except Undescribed as error:
            print(f"{file.name}: {error}", file=sys.stderr)
            return 1
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale += 1
            if "--check" in sys.argv[1:]:
                print(f"docs/reference/{file.name} is stale: run scripts/reference.py")
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                print(f"docs/reference/{file.name} written")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())

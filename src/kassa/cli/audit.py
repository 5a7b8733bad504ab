"""`kassa audit`: what was done by hand, by whom and why; and whether the log is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from kassa.cli.act import Limit, inside, moment, reader, sheet, time_of
from kassa.cli.show import AsJson, CommandError, progress, say_json

if TYPE_CHECKING:
    from kassa.audit import Chain, Line
    from kassa.audit.model import Head
    from kassa.kit.context import Context

app = typer.Typer(
    name="audit",
    no_args_is_help=True,
    help="""The audit log: who did what by hand, and why. Each line is chained to the one before it.

```sh
kassa audit list --who operator --since 2026-01-31
kassa audit check
```
""",
)

Merchant = Annotated[str | None, typer.Option(help="Of this merchant; * for what concerns all.  [default: all]")]
_HEAD = re.compile(r"([^:\s]{1,64}):([0-9]{1,18}):([0-9a-f]{64})")


@app.command("list")
def list_lines(
    merchant: Merchant = None,
    who: Annotated[str | None, typer.Option(help="By this one: a login, a user, a key's id, or a kind such as operator.")] = None,
    act: Annotated[str | None, typer.Option(help="This act, such as order.move, or a family, such as order.")] = None,
    subject: Annotated[str | None, typer.Option(help="About this, such as order:ID, or only its ID.")] = None,
    since: Annotated[str | None, typer.Option(help="From this day or time on (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this day or time.")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Lines before this one; the next page. Needs --merchant.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what was done by hand, newest first.

    ```sh
    kassa audit list --merchant 1 --act order
    kassa audit list --who operator:ana --json | jq -r '.lines[].act'
    ```
    """
    if before is not None and merchant is None:
        raise CommandError("--before is a line of one merchant: give --merchant, too")
    begins, ends = time_of(since, "--since", whole_day=False), time_of(until, "--until", whole_day=True)
    from kassa import audit

    async def work(ctx: Context) -> list[Line]:
        return await audit.find_lines(ctx.db, audit.Page(merchant, who, act, subject, begins, ends, before, limit))

    found = inside(work)
    if as_json:
        say_json({"lines": [_row(line) for line in found]})
        return
    rows = [
        (moment(line.at), line.merchant_id, line.place, str(line.by), line.act, line.subject, line.why, _facts(line))
        for line in found
    ]
    screen = reader()
    screen.print(sheet("Audit log", ("at", "merchant", "line#", "who", "act", "about", "why", "what"), rows), soft_wrap=True)
    if len(found) == limit and merchant is not None:
        screen.print(f"Earlier ones: --before {found[-1].place}")


@app.command()
def check(
    merchant: Merchant = None,
    head: Annotated[
        list[str] | None,
        typer.Option(help="An end that was noted elsewhere, as this command prints it: MERCHANT:LINE:HASH; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that every line is as it was written, and that none is missing. Exit code 1 where a chain is broken.

    Keep the heads that it prints somewhere else, and give them next time: then it also finds out if the newest lines were cut off.

    ```sh
    kassa audit check
    kassa audit check --head 1:4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    ```
    """
    known = dict(_head(each) for each in head or ())
    from kassa import audit

    async def work(ctx: Context) -> list[Chain]:
        screen = progress()
        with screen.status("checking") as status:
            return await audit.check_chains(
                ctx, merchant, known=known, tell=lambda of, count: status.update(f"merchant {of}: {count} lines")
            )

    chains = inside(work, need=("DATABASE_URL", "KASSA_SECRET"))
    if as_json:
        say_json({"chains": [_chain(chain) for chain in chains]})
    else:
        _show(chains)
    raise typer.Exit(1 if any(chain.broken for chain in chains) else 0)


def _show(chains: Sequence[Chain]) -> None:
    screen = reader()
    if not chains:
        screen.print("The audit log is empty.")
        return
    rows = [
        (
            chain.merchant_id,
            chain.lines,
            f"✗ line {chain.broken.place}: {chain.broken.why}" if chain.broken else "✓ whole",
            f"{chain.merchant_id}:{chain.place}:{chain.hash.hex()}",
        )
        for chain in chains
    ]
    screen.print(sheet("Chains", ("merchant", "lines#", "", "head id"), rows), soft_wrap=True)


def _head(text: str) -> tuple[str, Head]:
    from kassa.audit.model import Head

    found = _HEAD.fullmatch(text)
    if found is None:
        raise CommandError("--head is MERCHANT:LINE:HASH, as `kassa audit check` prints it")
    return found[1], Head(int(found[2]), bytes.fromhex(found[3]))


def _facts(line: Line) -> str:
    return ", ".join(f"{name}: {_fact(value)}" for name, value in line.what.items() if value not in (None, [], ""))


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _row(line: Line) -> dict[str, Any]:
    from kassa.kit.clock import rfc3339_micros

    return {
        "merchant_id": line.merchant_id,
        "line": line.place,
        "at": rfc3339_micros(line.at),
        "who": str(line.by),
        "act": line.act,
        "subject": line.subject,
        "why": line.why,
        "what": line.what,
        "request_id": line.request_id,
        "hash": line.hash.hex(),
    }


def _chain(chain: Chain) -> dict[str, Any]:
    broken = None if chain.broken is None else {"line": chain.broken.place, "why": chain.broken.why}
    return {
        "merchant_id": chain.merchant_id,
        "lines": chain.lines,
        "head": f"{chain.merchant_id}:{chain.place}:{chain.hash.hex()}",
        "broken": broken,
    }

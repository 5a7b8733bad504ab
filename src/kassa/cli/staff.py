"""`kassa staff`: the people of the back office, by an operator's hand: the first admin is made here.

A password is typed at the terminal, where it is not shown, or read from standard input; never an argument, which others could read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kassa.cli.act import ACTING, Why, changing, inside, list_rows, moment, say_change, say_list
from kassa.cli.show import AsJson, CommandError

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.staff.model import Account

app = typer.Typer(
    name="staff",
    no_args_is_help=True,
    help="""People of the back office: who may sign in at `/office`, and as what.

```sh
kassa staff add ana --email ana@example.com --role admin
kassa staff list
```
""",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
_HOUSE = "1"


@app.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts, closed ones too; never a password.

    ```sh
    kassa staff list
    ```
    """
    from kassa import staff

    async def work(ctx: Context) -> list[dict[str, Any]]:
        return [_row(each) for each in await staff.accounts_of(ctx.db, _HOUSE)]

    rows = inside(work)
    if as_json:
        say_list("accounts", rows, as_json)
    else:
        list_rows("Accounts", rows)


@app.command()
def add(
    name: Name,
    email: Annotated[str, typer.Option(help="Their e-mail address; good for signing in, too.")],
    role: Annotated[Literal["staff", "admin"], typer.Option(help="What they may do.")] = "staff",
    password_stdin: FromStdin = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Add an account. Its name is never given to somebody else.

    ```sh
    kassa staff add ana --email ana@example.com --role admin
    ```
    """
    from kassa import staff
    from kassa.staff.model import good_name, good_password

    async def work(ctx: Context) -> Account:
        kept_name, address = good_name(name, email, role)
        kept = await staff.hashed(good_password(typed, kept_name, address))
        async with changing(ctx, "staff.change", "staff.add", _HOUSE, f"staff:{kept_name}", why) as change:
            change.changed = False  # the room tells it
            return await staff.add_account(change.tx, change.hand, _HOUSE, kept_name, address, role, kept)

    typed = _password(password_stdin)
    say_change(as_json, f"Account {name}", None, _row(inside(work, need=ACTING)))


@app.command()
def password(name: Name, password_stdin: FromStdin = False, why: Why = None, as_json: AsJson = False) -> None:
    """Give an account another password. It is signed out everywhere.

    ```sh
    kassa staff password ana
    ```
    """
    from kassa import staff
    from kassa.staff.model import good_password

    async def work(ctx: Context) -> tuple[Account, Account]:
        before = await _find(ctx, name)
        kept = await staff.hashed(good_password(typed, before.name, before.email))
        async with changing(ctx, "staff.change", "staff.password", _HOUSE, f"staff:{before.account_id}", why) as change:
            change.changed = False  # the room tells it
            await staff.give_password(change.tx, change.hand, _HOUSE, before.account_id, kept)
        return before, await _find(ctx, name)

    typed = _password(password_stdin)
    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Account {name}", _row(before), _row(after))


@app.command()
def disable(name: Name, why: Why = None, as_json: AsJson = False) -> None:
    """Close an account: it is signed out everywhere, and nobody signs in with it. The last admin stays.

    ```sh
    kassa staff disable ana --why "left the company"
    ```
    """
    _switch(name, why, disabled=True, as_json=as_json)


@app.command()
def enable(name: Name, why: Why = None, as_json: AsJson = False) -> None:
    """Open a closed account again.

    ```sh
    kassa staff enable ana
    ```
    """
    _switch(name, why, disabled=False, as_json=as_json)


def _switch(name: str, why: str | None, *, disabled: bool, as_json: bool) -> None:
    from kassa import staff

    async def work(ctx: Context) -> tuple[Account, Account]:
        before = await _find(ctx, name)
        act = "staff.disable" if disabled else "staff.enable"
        async with changing(ctx, "staff.change", act, _HOUSE, f"staff:{before.account_id}", why) as change:
            change.changed = False  # the room tells it
            await staff.switch_account(change.tx, change.hand, _HOUSE, before.account_id, disabled=disabled)
        return before, await _find(ctx, name)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Account {name}", _row(before), _row(after))


async def _find(ctx: Context, name: str) -> Account:
    from kassa import staff

    wanted = name.strip().lower()
    found = next((each for each in await staff.accounts_of(ctx.db, _HOUSE) if each.name == wanted), None)
    if found is None:
        raise CommandError("there is no such account; see `kassa staff list`")
    return found


def _password(from_stdin: bool) -> str:
    """A password as it was typed, twice, or the first line of standard input."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to type a password at; give --password-stdin")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed


def _row(account: Account) -> dict[str, Any]:
    return {
        "account_id": str(account.account_id),
        "name": account.name,
        "email": account.email,
        "role": account.role,
        "created_at": moment(account.created_at),
        "password_at": moment(account.password_at),
        "disabled_at": moment(account.disabled_at) or None,
    }

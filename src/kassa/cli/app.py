"""All commands under one name, and the one place that turns an error into a line and an exit code.

Exit codes: 0 done, 1 the answer is no (`verify` found a breach), 2 it could not be begun, 130 stopped by hand.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kassa import __version__
from kassa.cli import (
    audit,
    channels,
    dev,
    events,
    forget,
    health,
    listen,
    merchants,
    migrate,
    payme,
    payments,
    products,
    reconcile,
    rpc,
    sandbox,
    secrets,
    seed,
    serve,
    simulate,
    staff,
    token,
    verify,
    work,
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False, pretty_exceptions_enable=False)

for command in (
    dev.dev,
    serve.serve,
    rpc.rpc,
    work.work,
    migrate.migrate,
    health.health,
    seed.seed,
    token.token,
    simulate.simulate,
    listen.listen,
    verify.verify,
    reconcile.reconcile,
    forget.forget,
):
    app.command()(command)

for group in (
    channels.app,
    products.app,
    merchants.app,
    staff.app,
    payments.app,
    events.app,
    payme.app,
    audit.app,
    secrets.app,
    sandbox.app,
):
    app.add_typer(group)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kassa {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Kassa: a self-hosted checkout backend. Cart, checkout, payment, order, delivery, exactly once.

    To try it, nothing else is needed:

    ```sh
    kassa dev                        # everything in one process; prints what to open and type
    TOKEN=$(kassa token --user 1)    # in another terminal, to buy something by hand
    kassa simulate --buyers 200      # or let others buy
    ```

    To run it for real, set DATABASE_URL, JWT_SECRET and KASSA_SECRET:

    ```sh
    kassa migrate && kassa serve     # N of these,
    kassa rpc                        # N of these, for gRPC,
    kassa work                       # and N of these, on any number of machines
    ```

    Settings are environment variables, or lines of a file `.env` in the folder where it is started.
    """


def main() -> None:
    """Run the command line. What a person can mend ends with one line and exit code 2, without a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        sys.stderr.write(f"kassa: {line}\n")
        sys.exit(2)


def _one_line(error: Exception) -> str | None:
    """What a person is told about `error`; None when it is a fault of ours."""
    from kassa.cli.show import CommandError
    from kassa.kit.database import DatabaseAway
    from kassa.kit.embedded import EmbeddedError
    from kassa.kit.own_keys import WrongSecret
    from kassa.migrate import SchemaError, WrongServer
    from kassa.settings import SettingsError

    if isinstance(error, DatabaseAway):
        return f"{error.message} ({error.__cause__})" if error.__cause__ else error.message
    if isinstance(error, WrongServer):
        return f"DATABASE_URL: {error}"
    if isinstance(error, CommandError | EmbeddedError | SchemaError | SettingsError | WrongSecret):
        return " ".join(str(error).split())
    return None

"""`kassa health`: whether the Kassa of this machine or container is well."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kassa.cli.probe import look, places
from kassa.cli.show import AsJson, say_json


def health(
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it can work, database included, and not only whether it lives.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the Kassa of this machine or container whether it is well. Exit code 1 when it is not, or nothing is served.

    It is asked over HTTP (/health, or /ready) and over gRPC (Health, or grpc.health.v1), whichever it serves, at the ports that the
    environment names; a file `.env` is not read. `kassa work` can be asked where METRICS_PORT is set. For whoever asks every few
    seconds, `python -m kassa.cli.probe` is the same and much quicker.

    ```sh
    kassa health
    HTTP_PORT=9000 kassa health --ready
    ```
    """
    well, line = look(places(os.environ), ready=ready)
    if as_json:
        say_json({"well": well, "said": line})
    else:
        sys.stdout.write(line + "\n")
    raise typer.Exit(0 if well else 1)

"""The command `kassa`: one file per command group. `main` is the door; what stops a command is said in one line."""

from kassa.cli.app import main

__all__ = ["main"]

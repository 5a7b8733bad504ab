"""The command `kassa`: one file per command group. `main` is the door; what stops a command is said in one line."""

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from kassa.cli.app import main as run  # here, because `probe` is asked every few seconds and needs none of it

    run()

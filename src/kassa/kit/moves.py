"""A state machine is one table: (status, what happened) → next status.

`Moves` applies a table; the store applies it once more as an update with the expected status in its
condition, so that two processes cannot both make the same move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kassa.kit.errors import Conflict


class IllegalMove(Conflict):
    """This move is not allowed from here."""

    code = "illegal_move"
    advice = "Read how it stands now; what is allowed from there is named in the answer."


class Moves:
    """A table of allowed moves.

    `start` is the status in which a thing is made, `table` maps (status, what happened) to the next status.
    """

    def __init__(self, start: str, table: Mapping[tuple[str, str], str]) -> None:
        self.start = start
        self.table = dict(table)

    def after(self, status: str, happened: str) -> str:
        """The status after `happened`; raises `IllegalMove` with `from`, `to` and `allowed` in its details."""
        try:
            return self.table[status, happened]
        except KeyError:
            allowed = sorted({what for (at, what) in self.table if at == status})
            raise IllegalMove(
                f"{happened!r} is not possible from {status!r}.", **{"from": status, "to": happened, "allowed": allowed}
            ) from None

    def allows(self, status: str, happened: str) -> bool:
        """Whether `happened` may happen at `status`."""
        return (status, happened) in self.table

    def reachable(self) -> set[str]:
        """Every status that can be reached from the start."""
        seen, todo = {self.start}, [self.start]
        while todo:
            here = todo.pop()
            for (at, _), there in self.table.items():
                if at == here and there not in seen:
                    seen.add(there)
                    todo.append(there)
        return seen

    def statuses(self) -> set[str]:
        """Every status that the table names."""
        return {self.start} | {at for at, _ in self.table} | set(self.table.values())

    def diagram(self, hidden: Iterable[str] = ()) -> str:
        """The table as a Mermaid state diagram, for the documents."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        lines += [f"    {at} --> {to}: {what}" for (at, what), to in self.table.items() if what not in set(hidden)]
        return "\n".join(lines)

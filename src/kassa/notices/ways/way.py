"""The port behind which buyers are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kassa.kit.context import Context
from kassa.notices.model import Contact, Notice, Outcome

if TYPE_CHECKING:
    from kassa.notices.learn import Users


class Way(Protocol):
    """One way of telling a buyer."""

    @property
    def limit_s(self) -> float:
        """Seconds that one attempt may take."""
        ...

    async def tell(self, ctx: Context, notice: Notice, contact: Contact) -> Outcome:
        """Make one attempt. What is raised counts as no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Notifier:
    """The port that bootstrap fills: how buyers are told, and who knows their addresses; nobody, if nothing is set."""

    way: Way | None = None
    users: Users | None = None

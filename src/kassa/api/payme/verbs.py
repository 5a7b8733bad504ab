"""What the door calls: the verbs behind Payme's methods, as `kassa.collect.payme` has them. Tests put others in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Protocol

from kassa.collect.payme import Cashbox
from kassa.kit.context import Context

Result = dict[str, Any]
Given = Mapping[str, Any]


class Verbs(Protocol):
    """Each gives the `result` or raises `PaymeRefusal`; called again, it says the same and does nothing more."""

    async def cashbox_of(self, ctx: Context, merchant_id: str, /) -> Cashbox | None:
        """A merchant's cashbox; None when there is no such merchant, or none at Payme."""
        ...

    async def check_perform(self, ctx: Context, box: Cashbox, amount: int, account: Given, /) -> Result:
        """Say whether `amount` tiyin may be paid for `account`."""
        ...

    async def create(self, ctx: Context, box: Cashbox, payme_id: str, time_ms: int, amount: int, account: Given, /) -> Result:
        """Hold the order."""
        ...

    async def perform(self, ctx: Context, box: Cashbox, payme_id: str, /) -> Result:
        """The money is there."""
        ...

    async def cancel(self, ctx: Context, box: Cashbox, payme_id: str, reason: int, /) -> Result:
        """Let go of the order, or take the money back."""
        ...

    async def check(self, ctx: Context, box: Cashbox, payme_id: str, /) -> Result:
        """Say how the attempt is."""
        ...

    async def statement(self, ctx: Context, box: Cashbox, from_ms: int, to_ms: int, /) -> IO[bytes]:
        """All attempts of a period: the JSON of the whole `result` in a file, for the caller to close."""
        ...

    async def set_fiscal_data(self, ctx: Context, box: Cashbox, payme_id: str, kind: str, data: Given, /) -> Result:
        """Keep a fiscal receipt."""
        ...

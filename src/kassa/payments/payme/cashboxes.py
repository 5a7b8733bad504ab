"""Merchants' accounts at Payme: that of the house stands in the settings, the others in the database with their keys sealed."""

from __future__ import annotations

from kassa.kit.context import Context
from kassa.kit.database import Reader, Tx
from kassa.kit.errors import Busy, Refused
from kassa.kit.reseal import Sealed
from kassa.kit.secrets import Keys
from kassa.payments.payme import store
from kassa.payments.payme.link import link
from kassa.payments.payme.model import Cashbox, PaymeRules


class NoCashbox(Refused):
    """This merchant has no cashbox at Payme."""

    code = "method_unavailable"


CASHBOX_KEYS = Sealed("payme_cashboxes", "key", (("merchant_id", "text"),), lambda row: _about(row["merchant_id"]))
"""Where keys of cashboxes are sealed."""


class KeyLost(Busy):
    """The key of this cashbox cannot be opened: KASSA_SECRET has changed."""

    code = "unavailable"


async def cashbox_of(ctx: Context, reader: Reader, merchant_id: str) -> Cashbox | None:
    """A merchant's cashbox, or None. Raises `KeyLost`."""
    return await open_cashbox(reader, ctx.port(PaymeRules), ctx.keys, merchant_id)


async def open_cashbox(reader: Reader, rules: PaymeRules, keys: Keys, merchant_id: str) -> Cashbox | None:
    """The same for somebody who has no context."""
    house = rules.house
    if house is not None and house.merchant_id == merchant_id:
        return house
    row = await store.read_cashbox(reader, merchant_id)
    if row is None:
        return None
    key = keys.unseal(bytes(row["key"]), _about(merchant_id))
    if key is None:
        raise KeyLost
    return Cashbox(merchant_id, row["cashbox_id"], key.decode(), row["is_test"], rules.login, rules.account_field)


async def set_cashbox(tx: Tx, keys: Keys, box: Cashbox) -> None:
    """Give a merchant this cashbox; payments that were opened before keep their links. Done twice, the second changes nothing."""
    await store.write_cashbox(
        tx, box.merchant_id, box.cashbox_id, keys.seal(box.key.encode(), _about(box.merchant_id)), is_test=box.is_test
    )


def pay_link(rules: PaymeRules, box: Cashbox, account: str, amount_minor: int) -> str:
    """Where a buyer pays `amount_minor` tiyin for `account` into this cashbox."""
    return link(
        box.cashbox_id,
        box.account_field,
        account,
        amount_minor,
        is_test=box.is_test,
        language=rules.language,
        return_url=rules.return_url,
    )


def _about(merchant_id: str) -> bytes:
    return b"payme cashbox " + merchant_id.encode()

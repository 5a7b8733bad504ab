"""Payme's side of a payment: its attempts with their own states, merchants' cashboxes, the link, fiscal receipts."""

from kassa.payments.payme.cashboxes import KeyLost, NoCashbox, cashbox_of, pay_link, set_cashbox
from kassa.payments.payme.charge import sweep_charges
from kassa.payments.payme.link import link
from kassa.payments.payme.store import (
    cancel,
    drop_cashbox,
    expired,
    find,
    give_back,
    insert,
    live,
    lock,
    of_payment,
    payment_for,
    perform,
    receipts,
    statement,
    write_receipt,
)

__all__ = [
    "KeyLost",
    "NoCashbox",
    "cancel",
    "cashbox_of",
    "drop_cashbox",
    "expired",
    "find",
    "give_back",
    "insert",
    "link",
    "live",
    "lock",
    "of_payment",
    "pay_link",
    "payment_for",
    "perform",
    "receipts",
    "set_cashbox",
    "statement",
    "sweep_charges",
    "write_receipt",
]

"""Payme's calls, conducted: what its Merchant API does to payments, orders, carts and books, each in one transaction."""

from kassa.collect.payme.acts import cancel, create, expire, perform
from kassa.collect.payme.model import PaymeRefusal
from kassa.collect.payme.read import cashbox_of, check, check_perform, set_fiscal_data, statement
from kassa.collect.payme.sweep import sweep_attempts
from kassa.payments.payme.model import Cashbox

__all__ = [
    "Cashbox",
    "PaymeRefusal",
    "cancel",
    "cashbox_of",
    "check",
    "check_perform",
    "create",
    "expire",
    "perform",
    "set_fiscal_data",
    "statement",
    "sweep_attempts",
]

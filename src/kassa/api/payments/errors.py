"""What only this surface refuses."""

from __future__ import annotations

from kassa.kit.errors import Conflict, Refused


class AlreadyAnswered(Conflict):
    """This request was answered, with a secret that is shown once; it cannot be shown again"""  # noqa: D400 - as its neighbours

    code = "already_answered"


class RefundAtProvider(Refused):
    """Payment is not refundable"""  # noqa: D400 - the contract's own words: it is given back in the provider's cabinet

    code = "refund_at_provider"

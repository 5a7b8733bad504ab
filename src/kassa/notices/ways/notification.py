"""The notification service: it is told which buyer, which order and what, and writes to the buyer itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kassa.kit.context import Context
from kassa.kit.neighbour import BreakerOpen, Neighbour, NoAnswer, NotSent
from kassa.notices.model import SENT, Contact, Notice, Outcome, later

CALL_S = 5.0
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class NotificationService:
    """Any 2xx is delivered. Guests have no account to be told at, and the contract knows no message about a part of a payment."""

    neighbour: Neighbour
    limit_s: float = CALL_S + 1

    async def tell(self, _ctx: Context, notice: Notice, contact: Contact) -> Outcome:
        """Send one notice under its key."""
        buyer_id = contact.buyer_id
        if buyer_id is None:
            return Outcome("sent", "no account to tell")
        if notice.event_type == "refund.succeeded":
            return Outcome("sent", "not for the notification service")
        user_id = int(buyer_id) if _NUMBER.fullmatch(buyer_id) else buyer_id
        body = {"user_id": user_id, "order_id": str(notice.order_id), "type": notice.type}
        try:
            answer = await self.neighbour.call(
                "POST", "/api/notifications/send", act="notify", timeout_s=CALL_S, body=body, key=notice.key
            )
        except (NotSent, BreakerOpen):
            return later("not reachable")
        except NoAnswer:
            return later("no answer")
        return SENT if answer.ok else later(f"answered {answer.status}")

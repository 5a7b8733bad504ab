"""The rest of the street: a payment provider, a notification service and a user service, behind one address."""

from __future__ import annotations

from dataclasses import dataclass

from .neighbour import Call, Neighbour, Reply, saying


@dataclass
class Street(Neighbour):
    """Its topics are `payment-links`, `refunds`, `users`, and for notices `notices for <user>`."""

    def topic(self, call: Call) -> str:
        if call.path == "/api/notifications/send":
            return f"notices for {call.body['user_id']}"
        return call.path.removeprefix("/api").split("/")[1]

    def work(self, call: Call) -> Reply:
        topic = self.topic(call)
        if topic == "payment-links":
            return saying(200, payment_url=f"https://pay.example.com/{call.body['payment_id']}")
        if topic == "refunds":
            return saying(200, status="refunded")
        return saying(202, status="queued") if topic.startswith("notices") else saying(404, detail="Not found")

    def notices(self, user: int) -> list[Call]:
        """What was said about the orders of a user, in order."""
        return self.calls("POST", f"notices for {user}")

    def told(self, user: int) -> list[str]:
        return [call.body["type"] for call in self.notices(user)]

"""Mailgun: letters are handed over to its HTTP interface."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from kassa.kit.neighbour import BreakerOpen, Neighbour, NoAnswer, NotSent
from kassa.notices.letters import Letter
from kassa.notices.model import SENT, Outcome, later, never
from kassa.notices.ways.mail import Sender, message_id, message_of

CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Mailgun:
    """An account: its sending domain, and who it is by name and secret, as the value of `Authorization`."""

    neighbour: Neighbour
    domain: str
    authorization: str
    limit_s: float = CALL_S + 1

    @classmethod
    def of(cls, neighbour: Neighbour, domain: str, api_key: str) -> Mailgun:
        """The account of `domain`, known by `api_key`."""
        return cls(neighbour, domain, "Basic " + base64.b64encode(f"api:{api_key}".encode()).decode())

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Mailgun({self.domain!r})"

    async def post(self, sender: Sender, letter: Letter) -> Outcome:
        """Hand over one letter. 400 says that this letter will never be taken; everything else but a yes is tried again."""
        message = message_of(sender, letter)
        form = {
            "from": str(message["From"]),
            "to": str(message["To"]),
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
            "h:Message-Id": message_id(sender, letter),
            "h:Date": str(message["Date"]),
            "h:Auto-Submitted": "auto-generated",
        }
        path, headers = f"/v3/{quote(self.domain, safe='')}/messages", {"Authorization": self.authorization}
        try:
            answer = await self.neighbour.call("POST", path, act="mailgun", timeout_s=CALL_S, form=form, headers=headers)
        except (NotSent, BreakerOpen):
            return later("not reachable")
        except NoAnswer:
            return later("no answer")
        if answer.status == 400:
            return never("answered 400")
        return SENT if answer.ok else later(f"answered {answer.status}")

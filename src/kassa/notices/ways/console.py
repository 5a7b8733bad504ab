"""The post of a development machine: letters are shown on standard output, and go nowhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from kassa.notices.letters import Letter
from kassa.notices.model import SENT, Outcome
from kassa.notices.ways.mail import Sender


@dataclass(frozen=True, slots=True)
class Console:
    """Shows each letter as one block of text. Not through the logs, where an address has no place."""

    limit_s: float = 1.0

    async def post(self, sender: Sender, letter: Letter) -> Outcome:
        """Show one letter."""
        to = f"{letter.to_name} <{letter.to_email}>" if letter.to_name else letter.to_email
        head = [f"From:    {sender.name} <{sender.email}>", f"To:      {to}", f"Subject: {letter.subject}"]
        body = [f"│ {line}".rstrip() for line in [*head, "", *letter.text.strip().splitlines()]]
        sys.stdout.write("\n".join(["", "┌── e-mail (console) " + "─" * 59, *body, "└" + "─" * 79, "", ""]))
        sys.stdout.flush()
        return SENT

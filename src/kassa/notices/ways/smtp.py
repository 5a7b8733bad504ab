"""The post that most have: a mail server, spoken to over SMTP.

One connection a letter: nothing is kept open, nothing has to be found out about a connection that was left alone. An answer that
accepts the letter ends the matter, whatever becomes of the farewell.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import aiosmtplib

from kassa.kit import crash
from kassa.kit.breaker import Breaker
from kassa.kit.database import in_transaction
from kassa.notices.letters import Letter
from kassa.notices.model import SENT, Outcome, later, never
from kassa.notices.ways.mail import Sender, in_ascii, message_of

TLS = ("starttls", "implicit", "off")
_FAREWELL_S = 1.0
_NO_SUCH_MAILBOX = frozenset({550, 551, 553})
"""Of a recipient: there is none. Other permanent refusals are about the sender or a rule, and a person can mend them."""
_POLICY = " 5.7."


@dataclass(frozen=True, slots=True)
class Smtp:
    """A mail server. `tls`: `starttls` (required), `implicit` or `off`."""

    host: str
    port: int = 587
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: str = "starttls"
    limit_s: float = 20.0
    breaker: Breaker = field(default_factory=partial(Breaker, "smtp"), repr=False, compare=False)

    async def post(self, sender: Sender, letter: Letter) -> Outcome:
        """Hand over one letter. A temporary no, or none that can be understood, is tried again."""
        if (inside := in_transaction()) is not None:
            raise RuntimeError(f"outside call 'smtp' inside transaction {inside!r}")
        if not self.breaker.allows():
            return later("not reachable")
        try:
            with self._answered():
                return await self._post(sender, letter)
        except (OSError, aiosmtplib.SMTPException):
            return later("no answer")

    async def _post(self, sender: Sender, letter: Letter) -> Outcome:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user,
            password=self.password,
            use_tls=self.tls == "implicit",
            start_tls=self.tls == "starttls",
            local_hostname=in_ascii(sender.domain),
            timeout=self.limit_s,
        )
        try:
            crash.reach("smtp", "before_call")
            await client.connect()
            await client.send_message(message_of(sender, letter))
            crash.reach("smtp", "after_call")
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused(error.recipients[0])
        except aiosmtplib.SMTPNotSupported:
            return later("not supported") if letter.to_email.isascii() else never("the mail server takes no such address")
        except aiosmtplib.SMTPResponseException as error:
            return later(f"answered {error.code}")
        finally:
            await _leave(client)
        return SENT

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        """Silence opens the breaker; any answer, also a no, closes it."""
        try:
            yield
        except (OSError, aiosmtplib.SMTPException, asyncio.CancelledError):  # cancelled: the time of the attempt is over
            self.breaker.silent()
            raise
        except BaseException:
            self.breaker.released()
            raise
        self.breaker.answered()


def _refused(refusal: aiosmtplib.SMTPRecipientRefused) -> Outcome:
    # What the server says beside the code may quote the address, and is not kept.
    why = f"recipient refused: {refusal.code}"
    if refusal.code in _NO_SUCH_MAILBOX and _POLICY not in f" {refusal.message}":
        return never(why)
    return later(why)


async def _leave(client: aiosmtplib.SMTP) -> None:
    if client.is_connected:
        with contextlib.suppress(OSError, aiosmtplib.SMTPException, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await client.quit()
    client.close()

"""The request of a delivery as it was sent, made once more from what is kept: for a developer who looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kassa.events import Recorded
from kassa.kit.context import Context
from kassa.webhooks.delivery.attempt import signed_headers
from kassa.webhooks.model import Endpoint, WebhookRules
from kassa.webhooks.sign import key_of, open_secret


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted: the headers, and the bytes that the signature is over."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def request_of(ctx: Context, endpoint: Endpoint, event: Recorded, *, at: datetime, attempt: int) -> Request:
    """The request with which `event` went to `endpoint` at `at`, signed with the endpoint's present secret.

    Raises `SecretLost`. Nothing is sent.
    """
    body = event.body() if endpoint.format == "payment" else event.envelope()
    signing = [key_of(open_secret(ctx.keys, endpoint.endpoint_id, endpoint.secret))]
    agent = ctx.port(WebhookRules).user_agent
    return Request(signed_headers(event, body, signing, at=int(at.timestamp()), attempt=attempt, user_agent=agent), body)

"""One attempt: the signed request, and what became of it (webhooks contract, section 3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import orjson

from kassa.events import Recorded
from kassa.kit import trace
from kassa.kit.context import Context, concerning
from kassa.kit.egress import Egress, Outcome
from kassa.kit.secrets import Keys
from kassa.kit.times import Times
from kassa.webhooks.delivery.model import Claimed
from kassa.webhooks.model import SecretLost, WebhookRules
from kassa.webhooks.sign import key_of, open_secret, sign

log = logging.getLogger("kassa.webhooks")
_TOOK = Times(
    "kassa_delivery_seconds",
    "Time of an attempt to tell a merchant: delivered, or how it failed (status, timeout, connect, …)",
    ["outcome"],
)


async def attempt(ctx: Context, claimed: Claimed) -> Outcome:
    """Post a claimed delivery once, in the trace of its event. Whatever goes wrong is an outcome; nothing is raised.

    The merchant is told nothing of the trace: strangers have no business with ours.
    """
    began = time.perf_counter()
    ids = {"endpoint_id": claimed.endpoint_id, "delivery_id": claimed.delivery_id, "event_id": claimed.event.event_id}
    with concerning(merchant_id=claimed.merchant_id, **ids), trace.go_on("webhook", claimed.event.traceparent, "client") as span:
        outcome = await _post(ctx, claimed)
        span.say(event=claimed.event.type, attempt=claimed.attempts, outcome=outcome.error or "delivered")
        if outcome.status_code is not None:
            span.mark("http.response.status_code", outcome.status_code)
    _TOOK.note(time.perf_counter() - began, outcome.error or "delivered")
    return outcome


async def _post(ctx: Context, claimed: Claimed) -> Outcome:
    rules, egress = ctx.port(WebhookRules), ctx.port(Egress)
    try:
        body = body_of(claimed)
        headers = headers_of(ctx.keys, claimed, body, rules.user_agent)
    except SecretLost as error:
        log.warning("endpoint %s: %s; was KASSA_SECRET changed?", claimed.endpoint_id, error.code)
        return Outcome(None, "cut")
    return await egress.post(claimed.url, body, headers, timeout_s=rules.timeout_s, operators=claimed.operators)


def body_of(claimed: Claimed) -> bytes:
    """The payment for `payment.*` where the endpoint's format is `payment`, else the envelope: the same bytes at every attempt."""
    return claimed.event.body() if claimed.format == "payment" else claimed.event.envelope()


def headers_of(keys: Keys, claimed: Claimed, body: bytes, user_agent: str) -> dict[str, str]:
    """The headers of this attempt; the timestamp is now, by this machine's clock, as the merchant's own is compared with it.

    Raises `SecretLost`.
    """
    sealed = [claimed.secret] + ([claimed.old_secret] if claimed.old_secret is not None else [])
    signing = [key_of(open_secret(keys, claimed.endpoint_id, each)) for each in sealed]
    return signed_headers(claimed.event, body, signing, at=int(time.time()), attempt=claimed.attempts, user_agent=user_agent)


def signed_headers(
    event: Recorded, body: bytes, signing: Sequence[bytes], *, at: int, attempt: int, user_agent: str
) -> dict[str, str]:
    """The headers with which an event is posted at `at` (seconds since 1970), signed by each of the keys, the newest first."""
    webhook_id = str(event.event_id)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(signing, webhook_id, at, body),
        "kassa-event-type": event.type,
        "kassa-subject": event.subject,
        "kassa-sequence": str(event.sequence),
        "kassa-attempt": str(attempt),
    }
    if event.subject.startswith("payment:"):
        headers["kassa-currency"] = str(orjson.loads(event.data).get("currency", ""))
    return headers

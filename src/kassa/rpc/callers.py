"""Who calls, by the metadata of the call: a key, a merchant that a gateway names, both, or nobody (gRPC contract, section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from kassa import merchants
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.merchants.model import Unauthorized

HOUSE = "1"
"""The merchant of calls that name nobody."""
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_READ = frozenset({"x-api-key", "x-merchant-id", "x-request-id", "traceparent", "tracestate"})


@dataclass(slots=True)
class Said:
    """What a call says of itself, and the trailing metadata that go with its answer."""

    request_id: str
    api_key: str | None = None
    merchant_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    trailing: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """For whom a call acts; `named` is False for the house, which nobody showed credentials of."""

    merchant_id: str
    named: bool


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Said:
    """What stands in the metadata of a call. A header that is said twice is joined, and so fits nobody.

    A request id that is not 1 to 128 visible ASCII characters is replaced by a new one.
    """
    sent: dict[str, str] = {}
    for name, value in metadata:
        if name in _READ and isinstance(value, str):
            sent[name] = f"{sent[name]}, {value}" if name in sent else value
    request_id = sent.get("x-request-id", "")
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = str(new_id())
    return Said(
        request_id,
        sent.get("x-api-key"),
        sent.get("x-merchant-id"),
        sent.get("traceparent"),
        sent.get("tracestate"),
        [("x-request-id", request_id)],
    )


async def identify(ctx: Context, said: Said, scope: str, *, trusted: bool, key_required: bool) -> Known:
    """For whom the call acts, if it may do what `scope` names.

    Raises what `merchants.identify` raises, `InsufficientScope`, and `Unauthorized` for nobody where a key is required.
    """
    caller = await merchants.identify(ctx, api_key=said.api_key, merchant_id=said.merchant_id, trusted=trusted)
    if caller is None:
        if key_required:
            raise Unauthorized
        return Known(HOUSE, named=False)
    caller.needs(scope)
    merchants.mark_used(ctx, caller)
    return Known(caller.merchant.merchant_id, named=True)

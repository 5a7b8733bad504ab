"""Ambassadors as products: from their service, or from our own tables (purchases contract, section 3).

The service is asked once for all ambassadors of a request. A gRPC error, a missed deadline, and an answer that does not say of each
ambassador whether and for how much it can be bought, are failed calls: they mean `AmbassadorsUnavailable`, and nothing is sold on a
guess. Nobody counts ambassadors, so none is ever reserved.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from ambassador_service.ambassador_pb2 import ValidateRequest, ValidateResponse
from kassa.catalog.model import ELSEWHERE, Channel, Offer, Page
from kassa.catalog.sources.own import OwnSource
from kassa.catalog.sources.recent import RecentPrices
from kassa.catalog.sources.source import ProductsUnavailable
from kassa.kit import crash, trace
from kassa.kit.breaker import Breaker
from kassa.kit.context import Context, request_id
from kassa.kit.database import in_transaction
from kassa.kit.figures import NEIGHBOUR
from kassa.kit.money import Money

DEADLINE_S: Final = 0.3
"""What a call may take in all, connecting and the wait for a connection included."""
PROBE_S: Final = 0.25
"""The same for the probe of an open breaker: its caller, too, is answered within 300 ms."""
HIGHEST_ID: Final = 2**63 - 1
HIGHEST_PRICE: Final = 10**13

_NAME = "ambassadors"
_METHOD = "/ambassador.AmbassadorValidation/ValidateAmbassadors"
_CANONICAL = re.compile(r"[1-9][0-9]{0,18}")
_CHANNEL: Final[Sequence[tuple[str, int]]] = (
    ("grpc.enable_http_proxy", 0),  # a neighbour is not reached through the proxy that an environment may name
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is to be a new connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 1000),  # how long one attempt to connect may take
    ("grpc.dns_min_time_between_resolutions_ms", 1000),  # a service that moved has another address under its name
    ("grpc.max_receive_message_length", 256 * 1024),  # a thousand ambassadors need a tenth of it
)

_log = logging.getLogger("kassa.ambassadors")


class AmbassadorsUnavailable(ProductsUnavailable):
    """The ambassadors service does not answer; try again in a moment."""

    code = "ambassadors_unavailable"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after


class OwnAmbassadors(OwnSource):
    """Products of the table `products` whose ids name ambassadors; others of the channel are not sold."""

    def __init__(self) -> None:
        super().__init__(counted=False)

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        """See `Source.offers`."""
        wanted = [str(each) for each in _ambassadors(product_ids)]
        found = await super().offers(ctx, channel, wanted) if wanted else {}
        return {product_id: offer for product_id, offer in found.items() if 1 <= offer.price.minor <= HIGHEST_PRICE}


class AmbassadorService:
    """A neighbour that judges ambassadors and prices them, in minor units of the channel. To be made in an event loop.

    Five failed calls in a row open its breaker for 10 s, then one probe decides: no answer to a call that began before.
    """

    def __init__(self, host: str, port: int, *, breaker: Breaker | None = None) -> None:
        self.breaker = breaker or Breaker(_NAME)
        self._target = f"dns:///[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"
        self._channel = self._connect()
        self._recent = RecentPrices()

    async def close(self) -> None:
        """Give up the connection. Called twice, the second does nothing."""
        await self._channel.close()

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:  # noqa: ARG002 - no database
        """See `Source.offers`. Raises `AmbassadorsUnavailable`; refuses to run inside a transaction."""
        return _offers(channel, await self._prices(_ambassadors(product_ids)))

    async def recent_offers(self, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        """As `offers`; but when the call fails, or none is made, prices answer that were read in the last 5 s, if all of them were.

        The service is asked first all the same: who looks at a cart is to see today's prices, and a changed one at once.
        """
        wanted = _ambassadors(product_ids)
        try:
            return _offers(channel, await self._prices(wanted))
        except AmbassadorsUnavailable:
            known = self._recent.of(wanted)
            if known is None:
                raise
            return _offers(channel, known)

    async def page(self, ctx: Context, channel: Channel, page: int, limit: int) -> Page:  # noqa: ARG002 - there is none
        """The service judges ids and has no list of them. Raises `AmbassadorsUnavailable`, always."""
        raise AmbassadorsUnavailable

    async def _prices(self, wanted: Sequence[int]) -> Mapping[int, int]:
        """Prices of the valid ones of `wanted`, from one call."""
        if (inside := in_transaction()) is not None:
            raise RuntimeError(f"outside call 'ambassadors' inside transaction {inside!r}")
        if not wanted:
            return {}
        probe = self.breaker.is_open
        if not self.breaker.allows():
            NEIGHBOUR.note(0.0, _NAME, "spared")
            raise AmbassadorsUnavailable(self.breaker.retry_after())
        asked_at = monotonic()
        crash.reach("ambassadors", "before_call")
        try:
            prices = _judged(wanted, await self._ask(wanted, probe=probe))
        except _CallFailed as error:
            _log.warning("the ambassadors service failed: %s", error)
            self._learn(probe=probe, answered=False)
            NEIGHBOUR.note(monotonic() - asked_at, _NAME, "silent")
            raise AmbassadorsUnavailable(self.breaker.retry_after()) from error
        except BaseException:
            if probe:
                self.breaker.released()
            raise
        self._learn(probe=probe, answered=True)
        NEIGHBOUR.note(monotonic() - asked_at, _NAME, "answered")
        self._recent.note(wanted, prices, asked_at)
        crash.reach("ambassadors", "after_call")
        return prices

    async def _ask(self, wanted: Sequence[int], *, probe: bool) -> bytes:
        """The answer as it was sent: the library would log what it cannot read. Raises `_CallFailed`."""
        if probe:
            # The old connection may lead nowhere without having been told so, and its backoff may not be over.
            old, self._channel = self._channel, self._connect()
            await old.close(DEADLINE_S)
        ask: grpc.aio.UnaryUnaryMultiCallable[ValidateRequest, bytes] = self._channel.unary_unary(
            _METHOD, request_serializer=ValidateRequest.SerializeToString
        )
        told = [("x-request-id", current)] if (current := request_id.get()) else []
        try:
            return await ask(
                ValidateRequest(ambassador_ids=wanted),
                timeout=PROBE_S if probe else DEADLINE_S,
                wait_for_ready=True,  # a service that restarts is back before the deadline, more often than not
                metadata=(*told, *trace.headers()),
            )
        except grpc.aio.AioRpcError as error:
            code = error.code().name  # its text is the stranger's
        # Not from the error: whoever keeps this one would keep the call, and the call its connection, though the channel is closed.
        raise _CallFailed(code)

    def _connect(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._target, options=_CHANNEL)

    def _learn(self, *, probe: bool, answered: bool) -> None:
        if self.breaker.is_open and not probe:
            return  # the call began before the breaker opened
        if answered:
            self.breaker.answered()
        else:
            self.breaker.silent()


def _ambassadors(product_ids: Sequence[str]) -> list[int]:
    """The ambassadors that are named: whole numbers from 1, written without leading zeros. Nothing else is sold here."""
    numbers = (int(each) for each in product_ids if _CANONICAL.fullmatch(each))
    return [each for each in numbers if each <= HIGHEST_ID]


def _judged(wanted: Sequence[int], answer: bytes) -> Mapping[int, int]:
    """Prices of the valid ones. What is said of others is nobody's business. Raises `_CallFailed`."""
    try:
        said = ValidateResponse.FromString(answer)
    except DecodeError as error:
        raise _CallFailed("not a ValidateResponse") from error
    asked, prices = set(wanted), dict[int, int]()
    for valid in said.valid_ambassadors:
        if valid.ambassador_id not in asked:
            continue
        if not 1 <= valid.price <= HIGHEST_PRICE:
            raise _CallFailed("a price out of range")
        if prices.setdefault(valid.ambassador_id, valid.price) != valid.price:
            raise _CallFailed("two prices of one ambassador")
    if asked - prices.keys() != asked.intersection(said.invalid_ids):
        raise _CallFailed("an ambassador in neither list, or in both")
    return prices


def _offers(channel: Channel, prices: Mapping[int, int]) -> Mapping[str, Offer]:
    return {str(ambassador_id): _offer(channel, str(ambassador_id), price) for ambassador_id, price in prices.items()}


def _offer(channel: Channel, product_id: str, price: int) -> Offer:
    return Offer(
        product_id=product_id,
        sku=product_id,
        name=f"Ambassador #{product_id}",
        price=Money(price, channel.currency),
        images=(),
        stock=None,
        counted_by=ELSEWHERE,
    )


class _CallFailed(Exception):
    """There is no answer, or none that can be used; the text says which, in words of ours."""

"""A stand-in for an ambassadors service, on Kassa's own gRPC port while it is developed with (purchases contract, section 3).

It sells the ambassadors it was given at their prices and calls every other id invalid. It plays a stranger: Kassa asks it only
where `AMBASSADOR_GRPC_HOST` and `AMBASSADOR_GRPC_PORT` name the address of its own gRPC port. Never part of production.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import grpc

from ambassador_service.ambassador_pb2 import ValidAmbassador, ValidateRequest, ValidateResponse
from kassa.rpc.read_request import BrokenMessage, parse

if TYPE_CHECKING:
    Call = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = "ambassador.AmbassadorValidation"


class Ambassadors:
    """The stand-in of one process. `prices` in tiyin by ambassador."""

    def __init__(self, prices: Mapping[int, int]) -> None:
        self._prices = prices

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods by name, from bytes to bytes, as those of `Payments`."""
        return {"ValidateAmbassadors": grpc.unary_unary_rpc_method_handler(self._validate)}

    async def _validate(self, data: bytes, call: Call) -> bytes:
        try:
            request = parse(ValidateRequest, data)
        except BrokenMessage as error:
            return await call.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        asked = list(dict.fromkeys(request.ambassador_ids))
        return ValidateResponse(
            valid_ambassadors=[
                ValidAmbassador(ambassador_id=each, price=self._prices[each]) for each in asked if each in self._prices
            ],
            invalid_ids=[each for each in asked if each not in self._prices],
        ).SerializeToString()

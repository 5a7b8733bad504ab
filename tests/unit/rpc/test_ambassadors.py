"""The stand-in for an ambassadors service: Kassa can be pointed at itself while it is developed with, and never in production."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from tests import rig

from ambassador_service.ambassador_pb2 import ValidAmbassador, ValidateRequest, ValidateResponse
from ambassador_service.ambassador_pb2_grpc import AmbassadorValidationStub
from kassa.kit.context import Context
from kassa.kit.secrets import Keys
from kassa.rpc.options import RpcOptions
from kassa.rpc.server import Server

PRICES = {1: 5000000, 2: 7500000, 3: 10000000, 4: 2500000, 5: 15000000}
NAME = "ambassador.AmbassadorValidation"


async def current() -> bool:
    return True


@contextlib.asynccontextmanager
async def serving(ambassadors: Mapping[int, int] | None) -> AsyncIterator[Any]:
    port = rig.free_port()
    options = RpcOptions("127.0.0.1", port, ("USD",), 1, False, False, True, None, None, current, ambassadors=ambassadors)
    server = Server(Context(None, Keys(b"a secret of thirty-two bytes, ok")), options)  # type: ignore[arg-type]
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop()


async def services(channel: Any) -> set[str]:
    call = ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
    return {each.name for each in (await call.read()).list_services_response.service}


async def test_it_sells_what_it_was_given_and_nothing_else() -> None:
    async with serving(PRICES) as channel:
        stub = AmbassadorValidationStub(channel)
        told = await stub.ValidateAmbassadors(ValidateRequest(ambassador_ids=[5, 6, 1, 5, 6, 0, -1, 2**63 - 1]))
        assert told == ValidateResponse(
            valid_ambassadors=[ValidAmbassador(ambassador_id=5, price=15000000), ValidAmbassador(ambassador_id=1, price=5000000)],
            invalid_ids=[6, 0, -1, 2**63 - 1],
        )
        assert await stub.ValidateAmbassadors(ValidateRequest()) == ValidateResponse()
        assert NAME in await services(channel)


async def test_what_is_no_message_is_refused() -> None:
    async with serving(PRICES) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/{NAME}/ValidateAmbassadors")(b"\xff")
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_without_prices_it_is_not_there() -> None:
    async with serving(None) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await AmbassadorValidationStub(channel).ValidateAmbassadors(ValidateRequest(ambassador_ids=[1]))
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert NAME not in await services(channel)

"""The health service alone: what is known of it, what watchers are told, and how it says goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from kassa.rpc import health
from kassa.rpc.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "payments.v1.PaymentService"


class World:
    """Whether calls can be served, and how often that was asked."""

    def __init__(self) -> None:
        self.good = True
        self.looks = 0

    async def look(self) -> bool:
        self.looks += 1
        return self.good


@asynccontextmanager
async def served(world: World) -> AsyncIterator[tuple[Health, Any]]:
    server, service = grpc.aio.server(), Health(world.look)
    add_HealthServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(service.run())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, HealthStub(channel)
    running.cancel()
    await server.stop(None)


def asked(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_a_check_looks_now(name: str) -> None:
    world = World()
    async with served(world) as (_, stub):
        assert (await stub.Check(asked(name))).status == SERVING
        world.good = False
        assert (await stub.Check(asked(name))).status == NOT_SERVING
        world.good = True
        assert (await stub.Check(asked(name))).status == SERVING


async def test_another_name_is_not_found() -> None:
    async with served(World()) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(asked("payments.v1"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Watch(asked("payments.v1")).read()
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_watchers_are_told_of_changes_and_sent_away_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_EVERY_S", 0.01)
    world = World()
    async with served(world) as (service, stub):
        streams = [stub.Watch(asked(name)) for name in ("", SERVICE)]
        assert [(await stream.read()).status for stream in streams] == [SERVING, SERVING]
        world.good = False
        assert [(await stream.read()).status for stream in streams] == [NOT_SERVING, NOT_SERVING]
        world.good = True
        assert [(await stream.read()).status for stream in streams] == [SERVING, SERVING]
        service.leave()
        assert [(await stream.read()).status for stream in streams] == [NOT_SERVING, NOT_SERVING]
        assert [await stream.read() for stream in streams] == [grpc.aio.EOF, grpc.aio.EOF]
        assert (await stub.Check(asked())).status == NOT_SERVING, "whatever the database says"


async def test_nobody_is_asked_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_EVERY_S", 0.01)
    world = World()
    async with served(world) as (_, stub):
        stream = stub.Watch(asked())
        await stream.read()
        stream.cancel()
        await asyncio.sleep(0.1)
        before = world.looks
        await asyncio.sleep(0.1)
        assert world.looks == before

"""Whether it is up: `Health`, the standard health service, and reflection."""

from __future__ import annotations

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.contracts.grpc.callers import Caller, check, refused, watch
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import SERVICE
from tests.rig import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_health_is_ok(nobody: Caller) -> None:
    assert nobody.health() == "ok"


@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_check_says_serving(nobody: Caller, service: str) -> None:
    assert check(nobody, service) == SERVING


@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_watch_begins_with_serving(nobody: Caller, service: str) -> None:
    assert next(watch(nobody, service)).status == SERVING


@pytest.mark.parametrize("service", ["payments.v1", "payments.v1.paymentservice", "somebody.Else", " "])
def test_a_check_of_another_name_finds_nothing(nobody: Caller, service: str) -> None:
    assert refused(check, nobody, service)[0] == StatusCode.NOT_FOUND


def test_a_watch_of_another_name_never_says_serving(nobody: Caller) -> None:
    """The contract says NOT_FOUND; the standard lets a watch say so with a message of its own."""
    try:
        assert next(watch(nobody, "somebody.Else")).status == SERVICE_UNKNOWN
    except grpc.RpcError as error:
        assert error.code() == StatusCode.NOT_FOUND


def test_many_may_watch(server: Server, meet: Meet) -> None:
    watchers = [meet(server.grpc) for _ in range(30)]
    streams = [watch(caller, service) for caller in watchers for service in ("", SERVICE)]
    assert {next(stream).status for stream in streams} == {SERVING}
    assert meet(server.grpc).pay().replayed is None, "and others are served beside them"


def test_the_standard_health_service_asks_nobody_who_he_is(server: Server, meet: Meet) -> None:
    assert check(meet(server.grpc, x_api_key="nonsense"), "") == SERVING


def test_reflection_lists_what_is_served(nobody: Caller) -> None:
    found = set(ProtoReflectionDescriptorDatabase(nobody.channel).get_services())
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= found


def test_reflection_can_be_turned_off(strict: Server, meet: Meet) -> None:
    caller = meet(strict.grpc)
    assert refused(lambda: list(ProtoReflectionDescriptorDatabase(caller.channel).get_services()))[0] == StatusCode.UNIMPLEMENTED
    assert check(caller, SERVICE) == SERVING, "the rest is there"

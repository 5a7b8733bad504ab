"""The gRPC server of one process: where it listens, what it bears, and how it ends.

It ends in order: the health service says NOT_SERVING, calls are still served for as long as balancers need to hear of it, then new
ones are turned away, running ones get five seconds, and what still runs is rolled back and answered UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server
from prometheus_client import Gauge

from kassa.kit.context import Context
from kassa.kit.readiness import Readiness
from kassa.rpc.ambassadors import SERVICE as AMBASSADORS
from kassa.rpc.ambassadors import Ambassadors
from kassa.rpc.health import NAME as HEALTH
from kassa.rpc.health import Health
from kassa.rpc.library import add_service, calm_down
from kassa.rpc.options import RpcOptions
from kassa.rpc.payments import SERVICE, Payments

MAX_MESSAGE: Final = 64 * 1024
MAX_METADATA: Final = 8 * 1024
MAX_STREAMS: Final = 1000
"""Calls of one connection at the same time; more wait at the caller."""
GRACE_S: Final = 5.0
"""How long a running call may take after the wish to stop."""
_CUTTING_S = 2.0
"""How long a call that was cut off may take to be rolled back and answered, on a machine that is busy."""

_BEARS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.so_reuseport", 0),  # a port that is taken is to be noticed, not shared
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", MAX_METADATA),
    ("grpc.absolute_max_metadata_size", MAX_METADATA),  # the other one alone refuses by chance what is a little larger
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.server_handshake_timeout_ms", 10_000),  # a connection that says nothing is not waited for
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),  # one of every 10 s may come a little early
)
_EXPIRES: Final = Gauge(
    "kassa_certificate_expires_timestamp_seconds", "When the certificate of the gRPC surface ends; 0 without one"
)


class CannotListen(Exception):
    """The address cannot be used, or the certificate cannot; the text is one line that names the setting."""


class Server:
    """Made, started and stopped once."""

    def __init__(self, ctx: Context, options: RpcOptions) -> None:
        self._options = options
        calm_down()
        self._server = grpc.aio.server(options=_BEARS)
        self._payments = Payments(ctx, options)
        readiness = Readiness(options.schema_is_current)
        self._health = Health(lambda: readiness.look(ctx.db))
        self._watch: asyncio.Task[None] | None = None
        handlers = grpc.method_handlers_generic_handler(SERVICE, self._payments.handlers())
        self._server.add_generic_rpc_handlers((handlers,))
        add_service(self._server, add_HealthServicer_to_server, self._health)
        served = [SERVICE, HEALTH, reflection.SERVICE_NAME]
        if options.ambassadors is not None:
            stand_in = Ambassadors(options.ambassadors)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(AMBASSADORS, stand_in.handlers()),))
            served.append(AMBASSADORS)
        if options.reflection:
            add_service(self._server, add_ServerReflectionServicer_to_server, reflection.aio.ReflectionServicer(served))

    async def start(self) -> None:
        """Listen and serve. Raises `CannotListen`."""
        options = self._options
        address = f"{options.host}:{options.port}"
        try:
            if options.tls is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, _credentials(*options.tls))
        except RuntimeError:
            raise CannotListen(f"GRPC_PORT: port {options.port} cannot be used on {options.host}") from None
        await self._server.start()
        self._watch = asyncio.create_task(self._health.run(), name="health")

    async def stop(self, drain_s: float = 0) -> None:
        """Say NOT_SERVING and serve on for `drain_s` seconds; then begin nothing new, give running calls five seconds and end them.

        Whoever came meanwhile is told to come again.
        """
        self._health.leave()
        await asyncio.sleep(drain_s)
        await self._payments.leave(GRACE_S)
        stopping = asyncio.create_task(self._server.stop(_CUTTING_S), name="stop")
        await asyncio.sleep(0)
        self._payments.turn_away()
        await stopping
        if self._watch is not None:
            self._watch.cancel()


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=""
        )  # an encrypted key is refused, not asked about
        chain = certificate.read_bytes()
        _EXPIRES.set(x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp())
        return grpc.ssl_server_credentials([(key.read_bytes(), chain)])
    except (OSError, ValueError):  # what OpenSSL finds wrong is an OSError, too
        raise CannotListen("GRPC_TLS_CERT and GRPC_TLS_KEY are not a certificate and its key, in PEM") from None

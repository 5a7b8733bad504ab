"""Is the Kassa of this machine or container well? `python -m kassa.cli.probe` is the health check of the image.

It is asked every few seconds, so it loads nothing of Kassa: a question over HTTP and one over gRPC, to whichever is served here; of
`kassa work` it asks at METRICS_PORT. Exit codes: 0 all that is served says yes; 1 something says no, does not answer, or nothing is
served at all.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc

WITHIN_S: Final = 2.0
"""How long one answer may take, in seconds."""
_HERE: Final = "127.0.0.1"
_ALIVE: Final = "/payments.v1.PaymentService/Health"
_READY: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"
"""A `HealthCheckResponse` that says so, as it travels."""


@dataclass(frozen=True, slots=True)
class Places:
    """The ports at which HTTP and gRPC may be served. `certificate`: what gRPC shows, in PEM."""

    http: tuple[int, ...]
    grpc: tuple[int, ...]
    certificate: Path | None = None


class _NotServed(Exception):
    """Nobody listens there, or somebody who speaks another language."""


class _Unwell(Exception):
    """It listens, and does not say yes; the text says what it does."""


def main() -> int:
    """Look as the environment says, print one line, return the exit code."""
    well, line = look(places(os.environ), ready="--ready" in sys.argv[1:])
    sys.stdout.write(line + "\n")
    return 0 if well else 1


def places(said: Mapping[str, str]) -> Places:
    """The places that the environment of a process names, by the rules of the settings class."""
    certificate = said.get("GRPC_TLS_CERT")
    http_ports = (said.get("HTTP_PORT") or said.get("PORT") or said.get("APP_PORT") or "8000", said.get("METRICS_PORT"))
    grpc_ports = (said.get("GRPC_PORT"),) if said.get("GRPC_PORT") else (said.get("PORT"), "7000")
    return Places(_numbers(http_ports), _numbers(grpc_ports), Path(certificate) if certificate else None)


def _numbers(ports: tuple[str | None, ...]) -> tuple[int, ...]:
    return tuple(int(port) for port in ports if port)


def look(where: Places, *, ready: bool = False) -> tuple[bool, str]:
    """Whether all that is served there is well, and a line that says so. `ready`: whether it can work, database included."""
    questions = [*((port, False) for port in where.http), *((port, True) for port in where.grpc)]
    well: dict[int, str] = {}
    for port, is_grpc in questions:
        name = f"{'gRPC' if is_grpc else 'HTTP'} on port {port}"
        try:
            if port not in well and _listens(port):
                _ask_grpc(port, where.certificate, ready=ready) if is_grpc else _ask_http(port, ready=ready)
                well[port] = name
        except _NotServed:
            continue
        except _Unwell as error:
            return False, f"{name} {error}"
    if not well:
        return False, f"nothing is served here: no HTTP on port {_either(where.http)}, no gRPC on {_either(where.grpc)}"
    return True, f"well: {' and '.join(well.values())}"


def _either(ports: tuple[int, ...]) -> str:
    return " or ".join(map(str, ports))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((_HERE, port), timeout=WITHIN_S):
            return True
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise _Unwell(f"cannot be reached ({type(error).__name__})") from None


def _ask_http(port: int, *, ready: bool) -> None:
    connection = http.client.HTTPConnection(_HERE, port, timeout=WITHIN_S)
    try:
        connection.request("GET", "/ready" if ready else "/health")
        status = connection.getresponse().status
    except http.client.BadStatusLine:
        raise _NotServed from None
    except OSError as error:
        raise _Unwell(f"does not answer ({type(error).__name__})") from None
    finally:
        connection.close()
    if status != 200:
        raise _Unwell(f"answers {status}")


def _ask_grpc(port: int, certificate: Path | None, *, ready: bool) -> None:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    with _channel(port, certificate) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_READY if ready else _ALIVE)
        try:
            answer = ask(b"", timeout=WITHIN_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise _NotServed from None
            raise _Unwell(f"answers {error.code().name}") from None
    if ready and answer != _SERVING:
        raise _Unwell("is not serving")


def _channel(port: int, certificate: Path | None) -> grpc.Channel:
    """A channel to our own server; with TLS one that trusts its own certificate, under whatever name that is made out to."""
    import grpc

    address = f"{_HERE}:{port}"
    if certificate is None:
        return grpc.insecure_channel(address)
    pem = certificate.read_bytes()
    options = (("grpc.ssl_target_name_override", _name_on(pem)),)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root_certificates=pem), options)


def _name_on(pem: bytes) -> str:
    from cryptography import x509

    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return next(iter(names.get_values_for_type(x509.DNSName)), "localhost").replace("*", "any")


if __name__ == "__main__":
    sys.exit(main())

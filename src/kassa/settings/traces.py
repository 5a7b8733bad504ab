"""Where traces go, by OpenTelemetry's own names, so that operators need learn none. Without an address nothing is recorded."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kassa.settings.kept import SettingsError

if TYPE_CHECKING:
    from kassa.settings.read import Settings

SAMPLERS = tuple(f"{parent}{root}" for parent in ("parentbased_", "") for root in ("always_on", "always_off", "traceidratio"))
"""What `OTEL_TRACES_SAMPLER` may be; the first is what counts where it is not set."""
_PROTOCOL = "http/protobuf"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+=[\x21-\x7e]*(?: [\x21-\x7e]+)*")


def traces_url(read: Settings) -> str | None:
    """The whole address that spans are posted to; None where none are recorded."""
    if read.otel_sdk_disabled:
        return None
    return read.otel_traces_endpoint or (read.otel_endpoint and f"{read.otel_endpoint}/v1/traces")


def traces_headers(read: Settings) -> Mapping[str, str]:
    """What is sent along, such as the key of a collector: `name=value,name=value`. Raises `SettingsError`."""
    found: dict[str, str] = {}
    for part in (read.otel_headers or "").split(","):
        text = unquote(part.strip())
        if text and not _HEADER.fullmatch(text):
            raise SettingsError("OTEL_EXPORTER_OTLP_HEADERS must be headers such as authorization=Bearer%20key,x-tenant=shop")
        name, _, value = text.partition("=")
        found |= {name.lower(): value} if text else {}
    return found


def traces_ratio(read: Settings) -> float:
    """Which part of the traces is recorded, 0 to 1. Raises `SettingsError`."""
    text = read.otel_sampler_arg or "1"
    if re.fullmatch(r"0|1|[01]?\.[0-9]{1,15}", text) is None or float(text) > 1:
        raise SettingsError("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")
    return float(text)


def check_traces(read: Settings) -> None:
    """Refuse what would record nothing, or something else than was asked for. Raises `SettingsError`."""
    if traces_url(read) is None:
        return
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if read.otel_traces_endpoint else "OTEL_EXPORTER_OTLP_ENDPOINT"
    if not _installed():
        raise SettingsError(f"{name} is set, and traces need a package that is not installed: pip install 'kassa[otel]'")
    if (read.otel_protocol or _PROTOCOL) != _PROTOCOL:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {_PROTOCOL}; its port is 4318 as a rule")
    if (read.otel_sampler or SAMPLERS[0]) not in SAMPLERS:
        raise SettingsError(f"OTEL_TRACES_SAMPLER must be one of {', '.join(SAMPLERS)}")
    traces_headers(read)
    traces_ratio(read)


def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("opentelemetry.sdk", "opentelemetry.exporter"))

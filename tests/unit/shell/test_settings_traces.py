"""Where traces go, read from OpenTelemetry's own names. What would record nothing, though somebody asked for it, does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import rig

from kassa.settings import SAMPLERS, Settings, SettingsError, traces_headers, traces_ratio, traces_url
from kassa.settings import traces as module

HERE = "http://localhost:4318"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def read(tmp_path: Path, **given: str) -> Settings:
    return Settings.load(True, KASSA_HOME=tmp_path / "home", **given)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, f"{HERE}/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{HERE}/otlp/"}, f"{HERE}/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{HERE}/spans"}, f"{HERE}/spans"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{HERE}/spans"}, f"{HERE}/spans"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_traces_go_where_opentelemetry_s_names_say(tmp_path: Path, given: dict[str, str], url: str | None) -> None:
    assert traces_url(read(tmp_path, **given)) == url


def test_headers_are_secret_and_read_as_opentelemetry_writes_them(tmp_path: Path) -> None:
    settings = read(tmp_path, OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20secret-key, x-tenant=a=b")
    assert traces_headers(settings) == {"authorization": "Bearer secret-key", "x-tenant": "a=b"}
    assert "secret-key" not in repr(settings)
    assert traces_headers(read(tmp_path)) == {}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_has_its_ratio(tmp_path: Path, sampler: str) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_TRACES_SAMPLER": sampler}
    assert traces_ratio(read(tmp_path, **given)) == 1
    assert traces_ratio(read(tmp_path, **given, OTEL_TRACES_SAMPLER_ARG="0.25")) == 0.25


WRONG = [
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
    ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER must be one of"),
    ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG must be"),
    ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG must be"),
    ({"OTEL_EXPORTER_OTLP_HEADERS": "no header"}, "OTEL_EXPORTER_OTLP_HEADERS must be"),
    ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b%0d%0ac: d"}, "OTEL_EXPORTER_OTLP_HEADERS must be"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_what_is_wrong_is_said_only_where_it_counts(tmp_path: Path, wrong: dict[str, str], says: str) -> None:
    """The same names may be there for others, on a machine where nobody asked Kassa for traces."""
    assert traces_url(read(tmp_path, **wrong)) is None
    with pytest.raises(SettingsError, match=f"^{says}"):
        read(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=HERE, **wrong)


def test_an_address_is_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT must begin with"):
        read(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4318")


def test_an_address_without_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_installed", lambda: False)
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT is set, .* pip install 'kassa\[otel\]'"):
        read(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=HERE)
    assert traces_url(read(tmp_path)) is None


def test_a_command_without_the_package_ends_with_2_and_one_line(tmp_path: Path) -> None:
    """As on a machine without it: the interpreter is told that there is none."""
    without = tmp_path / "sitecustomize.py"
    without.write_text(
        "import importlib.util as util\nreal = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'opentelemetry.sdk' else real(name, package)\n"
    )
    environment = rig.clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT=HERE, DATABASE_URL="postgresql://kassa@127.0.0.1:1/kassa")
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-m", "kassa", "serve"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "kassa[otel]" in done.stderr

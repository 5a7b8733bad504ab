"""The Compose files: what they promise, what they refuse, and that their very commands buy and pay in plain processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from scripts import env_example
from tests import rig
from tests.crash.nursery import Nursery
from tests.flows.broker_town import remove
from tests.services import OwnRedis
from tests.ship import composed
from tests.ship.composed import DEVELOPMENT, PRODUCTION, Machine, NotSet, passed_on, read, variables
from tests.ship.programs import opened, understood

from kassa.settings import Settings

OURS = ("order-service", "payment-service", "worker", "migrate")
SETTINGS = {str(name): field for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
NEEDED = {"KASSA_IMAGE": "kassa:0.1.0", "PUBLIC_URL": "https://shop.example"}
FILES = [pytest.param(DEVELOPMENT, id="development"), pytest.param(PRODUCTION, id="production")]


def services(path: Path, **said: str) -> dict[str, Any]:
    found: dict[str, Any] = read(path, **NEEDED, **said)["services"]
    return found


def kassas(path: Path) -> dict[str, Any]:
    """The services of ours that stay, or end by themselves."""
    return {name: each for name, each in services(path).items() if "postgres:" not in str(each.get("image")) and "cap_drop" in each}


# ── what the files say ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tool", [["docker-compose"], ["docker", "compose"]], ids=" ".join)
@pytest.mark.parametrize("path", FILES)
def test_compose_itself_takes_the_file(path: Path, tool: list[str], tmp_path: Path) -> None:
    """`config` needs no engine: it reads, fills in and checks against the schema of Compose."""
    if shutil.which(tool[0]) is None or subprocess.run([*tool, "version"], capture_output=True, check=False).returncode:
        pytest.skip(f"`{' '.join(tool)}` is not installed")
    (tmp_path / "env").touch()  # not that of whoever runs the tests
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}} | NEEDED
    command = [
        *tool,
        "--project-directory",
        str(rig.ROOT),
        "--env-file",
        str(tmp_path / "env"),
        "-f",
        str(path),
        "--profile",
        "test",
        "config",
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES)
def test_every_setting_is_passed_on_or_decided_here(path: Path) -> None:
    assert env_example.renewed(path.name, path.read_text()) == path.read_text(), "run `.venv/bin/python scripts/env_example.py`"
    document = read(path, **NEEDED)
    decided = {name.removesuffix("_FILE") for name, value in document["x-environment"].items() if value is not None}
    left_out = {*decided, *env_example.NOT_PASSED, *(env_example.IN_THE_FILE if path == DEVELOPMENT else ())}
    assert passed_on(document) | left_out == set(SETTINGS)
    assert not passed_on(document) & left_out


@pytest.mark.parametrize("path", FILES)
def test_every_name_in_an_environment_is_a_setting(path: Path) -> None:
    for name, service in kassas(path).items():
        for variable in service["environment"]:
            assert variable in SETTINGS or SETTINGS[variable.removesuffix("_FILE")].repr is False, (name, variable)


@pytest.mark.parametrize("path", FILES)
def test_every_command_is_one_of_kassa(path: Path) -> None:
    found = {name: understood(service["command"]) for name, service in kassas(path).items() if name != "test-client"}
    migrates = "seed" if path == DEVELOPMENT else "migrate"
    assert found.items() >= {"order-service": "serve", "payment-service": "rpc", "worker": "work", "migrate": migrates}.items()


@pytest.mark.parametrize("path", FILES)
def test_containers_of_ours_may_do_little(path: Path) -> None:
    for name, service in kassas(path).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["mem_limit"] == "512m", name
        assert int(service["stop_grace_period"].removesuffix("s")) >= 45, name


@pytest.mark.parametrize("path", FILES)
def test_nothing_is_privileged_and_every_foreign_image_has_a_version(path: Path) -> None:
    for name, service in services(path).items():
        assert not set(service) & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"}, name
        assert "/var/run/docker.sock" not in str(service), name
        image, _, tag = service["image"].partition(":")
        assert re.match(r"\d+(\.\d+)*(-\w+)?$|local$", tag), f"{name}: {image}:{tag}"
        assert (tag == "local") == ("build" in service), name


@pytest.mark.parametrize("path", FILES)
def test_what_stays_says_how_it_is_and_whoever_needs_it_waits(path: Path) -> None:
    found = services(path)
    for name, service in found.items():
        ends = service.get("restart") == "no"
        check = service["healthcheck"]
        assert check == {"disable": True} if ends else check["test"][0] == "CMD", name
        assert ends or service["restart"] == "unless-stopped", name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how["condition"] in {wanted, "service_started"}, (name, needed)
    assert all("migrate" in found[name]["depends_on"] for name in OURS if name != "migrate")


@pytest.mark.parametrize("path", FILES)
def test_what_is_published_can_be_reached_from_this_machine_alone_and_moved(path: Path) -> None:
    lines = [line for service in services(path).values() for line in service.get("ports", ())]
    assert lines
    assert all(line.startswith("127.0.0.1:") for line in lines)
    on_this_machine = [line.split(":")[1] for line in lines]
    assert len(on_this_machine) == len(set(on_this_machine))
    moved = {
        name: str(30_000 + place) for place, (name, default) in enumerate(variables(path).items()) if (default or "").isdigit()
    }
    lines = [line for service in services(path, BIND="0.0.0.0", **moved).values() for line in service.get("ports", ())]
    assert all(re.fullmatch(r"0\.0\.0\.0:30\d{3}:\d+", line) for line in lines)


def test_the_ports_are_those_of_the_readmes() -> None:
    found = {line.split(":")[1]: line.split(":")[2] for each in services(DEVELOPMENT).values() for line in each.get("ports", ())}
    assert found == {
        "8000": "8000", "7000": "7000", "50051": "7000", "8081": "8010", "8082": "8010", "8083": "8010",
        "5432": "5432", "5442": "5432", "6379": "6379", "5672": "5672",
    }  # fmt: skip
    service = services(DEVELOPMENT, PORT="8080", MAX_WORKERS="20")["payment-service"]
    assert service["ports"][0] == "127.0.0.1:8080:7000", "the gRPC README's .env"
    assert service["environment"]["MAX_WORKERS"] == "20"


def test_the_test_client_is_there_when_it_is_asked_for() -> None:
    assert {name for name, each in services(DEVELOPMENT).items() if "profiles" in each} == {"test-client"}
    assert services(DEVELOPMENT)["test-client"]["profiles"] == ["test"]
    assert not any("profiles" in each for each in services(PRODUCTION).values())


def test_production_has_no_sandbox_no_demo_and_no_password() -> None:
    text = PRODUCTION.read_text()
    assert set(services(PRODUCTION)) == set(OURS)
    assert "seed" not in text
    assert not re.search(r"://[^\s/:]+:[^\s/@]+@", text)
    for service in services(PRODUCTION).values():
        assert service["environment"]["PRODUCTION"] == "true"
        assert service["logging"]["options"]["max-size"]
        for name in ("DATABASE_URL", "JWT_SECRET", "KASSA_SECRET"):
            assert service["environment"][f"{name}_FILE"] == f"/run/secrets/{name.lower()}"
            assert name not in service["environment"]


@pytest.mark.parametrize("missing", NEEDED)
def test_production_asks_for_what_it_cannot_know(missing: str) -> None:
    with pytest.raises(NotSet, match="such as"):
        read(PRODUCTION, **{name: value for name, value in NEEDED.items() if name != missing})


def test_both_files_run_the_same_containers() -> None:
    for name in OURS:
        one, other = services(DEVELOPMENT)[name], services(PRODUCTION)[name]
        for member in (
            "read_only",
            "init",
            "tmpfs",
            "cap_drop",
            "security_opt",
            "stop_grace_period",
            "mem_limit",
            "healthcheck",
            "restart",
        ):
            assert one[member] == other[member], (name, member)


# ── what their commands do ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with opened() as born:
        yield born


@pytest.fixture
def broker(rabbitmq_url: str) -> Iterator[tuple[str, str]]:
    """The shared broker, and a name for what is made there."""
    import asyncio

    name = f"test-{uuid.uuid4().hex[:12]}"
    yield rabbitmq_url, name
    asyncio.run(remove(rabbitmq_url, name))


@pytest.fixture
def development(
    database_server: rig.DatabaseServer, own_redis: OwnRedis, broker: tuple[str, str], tmp_path: Path
) -> Iterator[Machine]:
    """compose.yaml on this machine, with an empty database and nothing started."""
    port = str(rig.free_port())
    said = {"HTTP_PORT": port, "EXCHANGE_NAME": broker[1], "QUEUE_NAME": f"{broker[1]}.queue", "DATABASE_POOL_SIZE": "4"}
    document = read(DEVELOPMENT, **said)
    stores = document["services"]
    password, name = stores["postgres"]["environment"]["POSTGRES_PASSWORD"], stores["postgres"]["environment"]["POSTGRES_DB"]
    addresses = {
        f"postgresql://postgres:{password}@postgres:5432/{name}": database_server.empty(),
        "redis://redis:6379/0": own_redis.url,
        "amqp://guest:guest@rabbitmq:5672/": broker[0],
    }
    assert all(each in document["x-environment"].values() for each in addresses)
    machine = Machine(document, tmp_path, addresses)
    machine.ports["order-service", 8000] = int(port)
    yield machine
    for program in machine.running.values():
        with suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGKILL)


def up(machine: Machine, nursery: Nursery, *names: str) -> None:
    """Start services in the order of the file's `depends_on`, and wait until each says that it is well."""
    for name in ("migrate", *names):
        program = machine.start(nursery, name)
        if name == "migrate":
            assert program.code(60) == 0, program.log()
    for name in names:
        machine.running[name].wait_until(lambda name=name: machine.is_well(name))  # type: ignore[misc]


def down(machine: Machine, *names: str) -> None:
    """SIGTERM to all; each ends in order within its grace."""
    for name in names:
        machine.running[name].ask_to_end()
    for name in names:
        assert machine.running.pop(name).code(30) == 0, name


def until(yes: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not yes():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_up_buy_and_down(development: Machine, nursery: Nursery) -> None:
    """What `docker compose up -d`, the test client and the READMEs' first examples do, and `down` at the end."""
    machine, stay = development, ("sandbox", "worker", "payment-service", "order-service")
    up(machine, nursery, *stay)
    api, grpc = f"http://127.0.0.1:{machine.port('order-service', 8000)}", f"127.0.0.1:{machine.port('payment-service', 7000)}"
    words = [machine._here("test-client", word) for word in machine.document["services"]["test-client"]["command"]]
    assert words == [api, grpc]
    done = machine.run("test-client", [sys.executable, str(rig.ROOT / "examples" / "test_client.py"), *words])
    assert done.returncode == 0, done.stdout + done.stderr + machine.running["order-service"].log()
    assert "Payment succeeded" in done.stdout
    assert "Payment declined" in done.stdout

    charges = json.load(urllib.request.urlopen(f"{api}/sandbox/control/summary", timeout=5))
    assert str(charges).count("payment") >= 1, "the card was charged at the sandbox, whose book the API shows, too"
    token = machine.run("order-service", [sys.executable, "-m", "kassa", "token", "--user", "1"]).stdout.strip()
    with httpx2.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=20) as buyer:
        an_order_is_paid(buyer)
        ambassadors_are_asked_over_grpc(buyer)
        a_link_is_made_by_the_sandbox_and_paid_on_its_page(buyer, api)
    a_mock_stands_at_the_root_of_its_port(f"http://127.0.0.1:{machine.port('sandbox', 8010)}")
    verified = machine.run("worker", [sys.executable, "-m", "kassa", "verify"])
    assert verified.returncode == 0, verified.stdout
    down(machine, *stay)


def an_order_is_paid(buyer: httpx2.Client) -> None:
    buyer.post("/api/cart/items", json={"productId": "507f1f77bcf86cd799439012", "quantity": 2}).raise_for_status()
    address = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}
    made = buyer.post("/api/orders", json={"paymentMethod": "credit_card", "shippingAddress": address}).raise_for_status()
    order = made.json()["data"]["id"]
    until(lambda: buyer.get(f"/api/orders/{order}").json()["data"]["status"] == "paid")


def ambassadors_are_asked_over_grpc(buyer: httpx2.Client) -> None:
    assert buyer.post("/cart/items", json={"ambassador_id": 1}).is_success
    assert buyer.post("/cart/items", json={"ambassador_id": 99}).is_client_error


def a_link_is_made_by_the_sandbox_and_paid_on_its_page(buyer: httpx2.Client, api: str) -> None:
    merchant, order = {"X-Merchant-Id": "1"}, int(uuid.uuid4().int % 10**9)
    wish = {"order_id": order, "amount": 2, "price": "349.70", "alias": "stripe"}
    made = buyer.post("/api/v1/payments", headers=merchant, json=wish).raise_for_status().json()
    assert made["payment_url"].startswith(api.replace("127.0.0.1", "localhost")), made
    page = made["payment_url"].replace("localhost", "127.0.0.1")
    assert buyer.get(page).is_success
    assert buyer.post(page.replace("/pay/", "/payments/") + "/accept").is_success
    shown = f"/api/v1/payments/{made['payment_id']}/show"
    until(lambda: "FINISHED" in buyer.get(shown, headers=merchant).text)


def a_mock_stands_at_the_root_of_its_port(url: str) -> None:
    wish = {
        "amount": 10.5,
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/30", "card_cvv": "123"},
        "customer_email": "customer@example.com",
    }
    answer = httpx2.post(f"{url}/payments/process", json=wish, headers={"Idempotency-Key": "mock-1:payment"}, trust_env=False)
    assert answer.json()["status"] == "success"


def test_production_comes_up_with_secrets_from_files(database_server: rig.DatabaseServer, nursery: Nursery, tmp_path: Path) -> None:
    """The one-liners of docs/docker.md make the files; their folder stands for /run/secrets."""
    dsn, folder = database_server.empty(), tmp_path / "secrets"
    page = (rig.ROOT / "docs" / "docker.md").read_text()
    (script,) = re.findall(r"```sh\n(mkdir -m 700 secrets\n.*?)```", page, re.DOTALL)
    subprocess.run(
        ["sh", "-euc", script.replace("postgresql://kassa:password@host.docker.internal:5432/kassa", dsn)], cwd=tmp_path, check=True
    )
    assert {path.name for path in folder.iterdir()} == set(read(PRODUCTION, **NEEDED)["secrets"])
    document = read(PRODUCTION, **NEEDED, DATABASE_POOL_SIZE="4", DRAIN_S="0", SURFACES="orders,checkout,grpc")
    machine = Machine(document, tmp_path, {"/run/secrets": str(folder)})
    stay = ("worker", "payment-service", "order-service")
    up(machine, nursery, *stay)
    for name in stay:
        ready = machine.run(name, [sys.executable, "-m", "kassa.cli.probe", "--ready"])
        assert ready.returncode == 0, ready.stdout
    port = machine.port("order-service", 8000)
    assert httpx2.get(f"http://127.0.0.1:{port}/sandbox/control", trust_env=False).status_code == 404
    assert not (tmp_path / "kassa" / "secrets").exists(), "production makes no secrets of its own"
    down(machine, *stay)


def test_the_reader_of_variables_is_that_of_compose() -> None:
    said = {"SET": "yes", "EMPTY": ""}
    assert composed._filled("${SET:-no} ${EMPTY:-no} ${MISSING:-no} ${SET} ${MISSING}", said) == "yes no no yes "
    with pytest.raises(NotSet, match="say it"):
        composed._filled(["${MISSING:?say it}"], said)

"""deploy/systemd and docs/small-server.md: systemd takes the units, Kassa takes their lines, and a proxy passes everything on."""

from __future__ import annotations

import base64
import getpass
import grp
import ipaddress
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests import rig
from tests.ship.buying import buying, put_up_for_sale
from tests.ship.programs import START_S, Program, opened, understood

from kassa import bootstrap
from kassa.cli import process
from kassa.kit import addresses
from kassa.kit.tokens import issue_token
from kassa.settings import Settings

SYSTEMD = rig.ROOT / "deploy" / "systemd"
GUIDE = rig.ROOT / "docs" / "small-server.md"
UNITS = sorted(SYSTEMD.glob("*.service"))
OURS = [unit for unit in UNITS if unit.name.startswith("kassa-")]
EVERY = SYSTEMD / "kassa-.service.d" / "every.conf"
SETTINGS = {str(name) for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
WORST = 2.0
"""The exposure that `systemd-analyze security` may find, of 10."""


def lines_of(file: Path) -> list[tuple[str, str]]:
    """What a unit says, in its order; a name may come more than once."""
    found = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, value in found]


def said(file: Path, name: str) -> list[str]:
    return [value for each, value in lines_of(file) if each == name]


def environment_of(unit: Path) -> dict[str, str]:
    return dict(word.split("=", 1) for line in said(unit, "Environment") for word in shlex.split(line))


def words_of(unit: Path, port: str = "8001") -> list[str]:
    """What stands behind the program in `ExecStart`."""
    (line,) = said(unit, "ExecStart")
    program, *words = shlex.split(line.replace("%i", port))
    assert program == "/opt/kassa/current/bin/kassa"
    return words


def example() -> dict[str, str]:
    """The example of /etc/kassa/kassa.env."""
    return dict(lines_of(SYSTEMD / "kassa.env.example"))


# ── what systemd says ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The units, with a program and accounts that this machine has."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the units are read by our own eyes alone")
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for file in (tmp_path / "units").rglob("*"):
        if file.suffix in {".service", ".conf"}:
            text = re.sub(
                r"/opt/kassa/current/bin/kassa|/usr/local/lib/kassa/take-base|/bin/sh(?= -c)", "/bin/true", file.read_text()
            )
            text = re.sub(r"^User=.*$", f"User={getpass.getuser()}", text, flags=re.MULTILINE)
            file.write_text(re.sub(r"^Group=.*$", f"Group={grp.getgrgid(os.getgid()).gr_name}", text, flags=re.MULTILINE))
    return tmp_path / "units"


def test_systemd_finds_nothing_wrong_with_the_units(here: Path) -> None:
    names = [unit.name.replace("@.", "@8001.") for unit in UNITS]
    done = analyze(here, "verify", *names, "kassa.target", "backup-kassa.timer")
    complaints = [line for line in done.stderr.splitlines() if "kassa" in line]
    assert (done.returncode, complaints) == (0, [])


def test_systemd_would_find_a_slip(here: Path) -> None:
    """The drop-in counts for every unit of the prefix: what a oneshot may not have there is refused."""
    with (here / EVERY.relative_to(SYSTEMD)).open("a") as file:
        file.write("Restart=always\n")
    done = analyze(here, "verify", "kassa-migrate.service")
    assert done.returncode != 0
    assert "Restart=" in done.stderr


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.stem)
def test_a_unit_may_do_little(unit: Path, here: Path) -> None:
    name = unit.name.replace("@.", "@8001.")
    (here / unit.name).rename(here / name)
    done = analyze(here, "security", "--offline=true", "--no-pager", f"--threshold={round(WORST * 10)}", name)
    assert done.returncode == 0, done.stdout[-300:]
    assert re.search(r"exposure level for \S+: \d\.\d OK", done.stdout)


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [f"./{word}" if word.endswith((".service", ".target", ".timer")) else word for word in words]
    environment = {**os.environ, "SYSTEMD_COLORS": "0", "LANG": "C.UTF-8", "SYSTEMD_UNIT_PATH": f"{folder}:"}
    return subprocess.run(
        ["systemd-analyze", *paths], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


# ── what it means ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_line_is_a_command_of_ours_with_settings_that_exist() -> None:
    for unit in OURS:
        assert understood(words_of(unit)) == re.fullmatch(r"kassa-([a-z]+)@?", unit.stem)[1]  # type: ignore[index]
        assert set(environment_of(unit)) <= SETTINGS
    assert set(example()) <= SETTINGS
    assert said(EVERY, "EnvironmentFile") == ["/etc/kassa/kassa.env"]


def test_every_service_that_runs_is_restarted_and_has_time_to_end() -> None:
    drain_s = Settings.load(True, need=(), PRODUCTION="true", KASSA_HOME="/nowhere").drain_s
    assert drain_s == 5
    ending_s = drain_s + process.ANSWER_S + process.WORKERS_STOP_S + bootstrap.DRAIN_S + bootstrap._DELIVERIES_DRAIN_S
    assert float(said(EVERY, "TimeoutStopSec")[0]) >= ending_s
    for unit in OURS:
        oneshot = said(unit, "Type") == ["oneshot"]
        assert said(unit, "Restart") == ([] if oneshot else ["always"])
        assert bool(said(unit, "ExecStartPost")) != oneshot
        assert said(unit, "MemoryMax")


def test_a_unit_of_another_account_is_not_named_like_ours() -> None:
    """The drop-in for `kassa-` would make it ours."""
    for unit in UNITS:
        assert bool(said(unit, "User")) != unit.name.startswith("kassa-")


def test_ports_and_connections_fit_together() -> None:
    shown = {environment_of(unit)["METRICS_PORT"]: unit for unit in OURS if "METRICS_PORT" in environment_of(unit)}
    assert len(shown) == 2
    for port, unit in shown.items():
        assert f"127.0.0.1:{port}/ready" in said(unit, "ExecStartPost")[0]
    instances = {"kassa-serve@": 2}
    most = sum(
        instances.get(unit.stem, 1) * int(environment_of(unit)["DATABASE_POOL_SIZE"]) for unit in OURS if said(unit, "Restart")
    )
    (limit,) = [int(value.split("#")[0]) for name, value in server_settings() if name == "max_connections"]
    assert 2 * most <= limit, "old and new, and room for people"


def server_settings() -> list[tuple[str, str]]:
    found = [line.split("=", 1) for line in (rig.ROOT / "deploy" / "postgresql" / "kassa.conf").read_text().splitlines()]
    return [(parts[0].strip(), parts[1].strip()) for parts in found if len(parts) == 2 and not parts[0].startswith("#")]


def test_postgresql_knows_what_it_is_told(database_server: rig.DatabaseServer) -> None:
    known = {row["name"]: row["enumvals"] for row in rig.query(database_server.dsn, "SELECT name, enumvals FROM pg_settings")}
    for name, value in server_settings():
        assert name in known
        assert known[name] is None or value.partition("#")[0].strip() in known[name]
    assert {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}.items() <= dict(server_settings()).items()


def test_workers_reach_no_inner_network() -> None:
    """As in kit/addresses.py, but for loopback, where the stores are, and for what nobody can reach anyway."""
    (unit,) = [unit for unit in OURS if unit.stem == "kassa-work"]
    closed = [ipaddress.ip_network(each) for each in said(unit, "IPAddressDeny")[0].split()]
    assert all(not addresses.is_public(str(each.network_address)) for each in closed)
    inner = ["10.1.2.3", "100.64.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.168.1.1", "198.18.0.1"]
    for each in [*inner, "fd00:ec2::254", "fe80::1"]:
        assert not addresses.is_public(each)
        assert any(ipaddress.ip_address(each) in network for network in closed)
    missing = [network for network in addresses._CLOSED_4 if network not in closed]
    assert [str(each) for each in missing] == [
        "0.0.0.0/8", "127.0.0.0/8", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    ]  # fmt: skip


def test_the_guide_names_what_there_is() -> None:
    text = GUIDE.read_text()
    for place in set(re.findall(r"deploy/[\w./*-]+", text)):
        assert list(rig.ROOT.glob(place.rstrip("/."))), place
    units = {unit.stem.rstrip("@") for unit in UNITS} | {"kassa"}
    for named in set(
        re.findall(r"(?<![\w/-])((?:kassa|backup-kassa)-?[a-z]*)(?:@\d+)?(?:\.(?:service|timer|target))?(?= |$|`)", text)
    ):
        assert named in units | {"kassa-"} or named == "kassa"
    for words in re.findall(r"^kassa (.+?)(?: #.*)?$", text, re.MULTILINE):
        for each in words.split(" && kassa "):
            if "--help" not in each:
                assert understood(shlex.split(each))


def test_the_operators_command_reads_settings_as_systemd_does(tmp_path: Path) -> None:
    file = tmp_path / "kassa.env"
    file.write_text(
        "# a remark\nLOG_LEVEL=error\nEMAIL_FROM='Corner Shop <shop@example.com>'\nDATABASE_URL=postgresql://kassa@/kassa?host=/run/postgresql\n"
    )
    script = (SYSTEMD / "kassa").read_text()
    for there, instead in (
        ("/etc/kassa/kassa.env", str(file)),
        ("/var/lib/kassa", str(tmp_path)),
        ("runuser -u kassa --", ""),
        ("/opt/kassa/current/bin/kassa", "env"),
    ):
        assert there in script
        script = script.replace(there, instead)
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.defpath}, capture_output=True, text=True, timeout=20, check=True)
    assert {"LOG_LEVEL=error", "EMAIL_FROM=Corner Shop <shop@example.com>"} < set(done.stdout.splitlines())
    assert "DATABASE_URL=postgresql://kassa@/kassa?host=/run/postgresql" in done.stdout.splitlines()


# ── its lines, run ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def settings(database_server: rig.DatabaseServer) -> dict[str, str]:
    """The example's settings with secrets, and a database of this run."""
    made = {
        "DATABASE_URL": database_server.fresh(),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "KASSA_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
        "METRICS_TOKEN": secrets.token_hex(16),
    }
    return example() | made


_NO_EXECUTABLE_MEMORY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "kassa", *sys.argv[1:]])
"""
"""What MemoryDenyWriteExecute does, for a process and what it becomes; a kernel before 6.3 does not know it."""


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux")
def test_the_units_start_are_ready_and_end(settings: dict[str, str], tmp_path: Path) -> None:
    running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
    try:
        for unit in OURS:
            begun(unit, settings, tmp_path, running)
        for name, (started, log) in running.items():
            if name == "kassa-migrate":
                assert started.wait(START_S) == 0, log.read_text()
                continue
            line = ready_line(name, tmp_path)
            done = subprocess.run(["sh", "-c", line], env={**os.environ, "MAINPID": str(started.pid)}, timeout=START_S, check=False)
            assert done.returncode == 0, log.read_text()[-3000:]
            assert started.poll() is None
        alive = {name: started for name, (started, _) in running.items() if name != "kassa-migrate"}
        for started in alive.values():
            started.send_signal(signal.SIGTERM)
        assert {name: started.wait(30) for name, started in alive.items()} == dict.fromkeys(alive, 0)
    finally:
        for started, _ in running.values():
            if started.poll() is None:
                started.kill()
                started.wait()


def begun(unit: Path, settings: dict[str, str], folder: Path, running: dict[str, tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Start the line of a unit on ports that are free here, as little allowed to it as can be had without systemd."""
    ports = {name: str(rig.free_port()) for name in ("%i", "GRPC_PORT", "METRICS_PORT")}
    (folder / f"{unit.stem}.port").write_text(ports["%i"] if "@" in unit.stem else ports["METRICS_PORT"])
    words = words_of(unit, ports["%i"])
    if "rpc" in words:
        words[words.index("--port") + 1] = ports["GRPC_PORT"]
    environment = settings | environment_of(unit) | {"DRAIN_S": "0"}
    if "METRICS_PORT" in environment:
        environment["METRICS_PORT"] = ports["METRICS_PORT"]
    log = folder / f"{unit.stem}.log"
    with log.open("wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-c", _NO_EXECUTABLE_MEMORY, *words],
            env=rig.clean_environment(**environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    running[unit.stem] = started, log


def ready_line(name: str, folder: Path) -> str:
    """What `ExecStartPost` gives to the shell, for the port that was free."""
    (line,) = said(SYSTEMD / f"{name}.service", "ExecStartPost")
    program, option, text = shlex.split(line)
    assert (program, option) == ("/bin/sh", "-c")
    return re.sub(r"127\.0\.0\.1:(%i|\d+)/", f"127.0.0.1:{(folder / f'{name}.port').read_text()}/", text)


def test_a_start_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "kassa-work.port").write_text(str(rig.free_port()))
    began = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", ready_line("kassa-work", tmp_path)],
        env={**os.environ, "MAINPID": str(ended.pid)},
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert time.monotonic() - began < 5


def test_the_commands_of_the_guide_open_a_shop(database_server: rig.DatabaseServer, tmp_path: Path) -> None:
    (script,) = [each for each in re.findall(r"```sh\n(.+?)```", GUIDE.read_text(), re.DOTALL) if "kassa channels open" in each]
    assert "/etc/kassa/products.csv" in script
    dsn = database_server.fresh()
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-euc", f'kassa() {{ {sys.executable} -m kassa "$@"; }}\n{script.replace("/etc/kassa", str(tmp_path))}'],
            env=rig.clean_environment(DATABASE_URL=dsn, KASSA_SECRET=secret, PRODUCTION="true", KASSA_HOME=str(tmp_path / "home")),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert rig.query(
        dsn, "SELECT product_id, price_minor, currency, available FROM products JOIN stock_levels USING (product_id)"
    ) == [{"product_id": "tea", "price_minor": 499, "currency": "EUR", "available": 120}]


# ── through the proxies ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def shop(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, dict[str, str]]]:
    """One `kassa serve` behind which the second one is missing, as during a release; its port, and its settings."""
    port = rig.free_port()
    put_up_for_sale(settings["DATABASE_URL"])
    with opened() as nursery:
        made = Program(
            nursery, ["serve", "--host", "127.0.0.1", "--port", str(port)], settings, tmp_path_factory.mktemp("shop") / "serve"
        )
        made.start()
        made.wait_until(lambda: rig.answers(f"http://127.0.0.1:{port}/ready"))
        yield port, settings


@pytest.mark.parametrize("name", ["caddy", "nginx"])
def test_a_proxy_passes_on_purchases_and_live_streams(name: str, shop: tuple[int, dict[str, str]], tmp_path: Path) -> None:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed: deploy/systemd has an example for it that is not tried here")
    port, settings = shop
    front = rig.free_port()
    command = caddy(program, tmp_path, port, front) if name == "caddy" else nginx(program, tmp_path, port, front)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{front}"
        until = time.monotonic() + 20
        while not rig.answers(f"{url}/ready"):
            assert started.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
        with buying(url, settings["JWT_SECRET"]) as buyers:
            while buyers.served < 20 and not buyers.failed:
                time.sleep(0.02)
        assert buyers.failed == []
        assert httpx2.get(f"{url}/metrics", trust_env=False).status_code == 404
        assert first_news(url, settings["JWT_SECRET"], buyers.orders) < 5
    finally:
        started.terminate()
        started.wait(20)


def first_news(url: str, secret: str, orders: set[str]) -> float:
    """Seconds until the first bytes of an order's live stream, which goes on for minutes, are here."""
    began = time.monotonic()
    for user in ("0", "1"):
        token = issue_token(secret, "HS256", user, "user", issued=int(time.time()), expires=int(time.time()) + 600)
        path = f"{url}/api/orders/{next(iter(orders))}/events"
        with httpx2.stream("GET", path, headers={"Authorization": f"Bearer {token}"}, timeout=20, trust_env=False) as answer:
            if answer.status_code == 200:
                assert next(answer.iter_bytes())
                return time.monotonic() - began
    raise AssertionError("neither buyer has this order")


def caddy(program: str, folder: Path, port: int, front: int) -> list[str]:
    """The example for this machine: no certificate, ports that are free, nobody behind the second address."""
    site, _, _ = (SYSTEMD / "Caddyfile").read_text().partition("# gRPC for")
    site = (
        site.replace("shop.example.com {", f"http://127.0.0.1:{front} {{")
        .replace(":8001", f":{port}")
        .replace(":8002", f":{rig.free_port()}")
    )
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{site}")
    check = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", str(SYSTEMD / "Caddyfile")],
        env={**os.environ, "HOME": str(folder)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert check.returncode == 0, check.stderr
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(program: str, folder: Path, port: int, front: int) -> list[str]:
    """The same; the server that only sends to https is left out."""
    text = (SYSTEMD / "nginx.conf").read_text()
    first = text.index("server {\n    listen 80;")
    text = text[:first] + text[text.index("server {\n    listen 443") :]
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE).replace("listen 443 ssl http2;", f"listen 127.0.0.1:{front};")
    text = text.replace(":8001", f":{port}").replace(":8002", f":{rig.free_port()}")
    temporary = "\n".join(f"{each}_temp_path {folder}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n{text}\n}}\n"
    )
    return [program, "-p", str(folder), "-e", str(folder / "early"), "-c", str(folder / "nginx.conf")]

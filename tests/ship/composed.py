"""Compose files as a machine without a container engine can use them: read, filled in, and their services run as plain processes.

A service keeps its command, its environment and its health check, word for word. Only addresses change: names of services become
127.0.0.1, and each port inside a container becomes a free one of this machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests import rig
from tests.crash.nursery import Nursery
from tests.ship.programs import Program

DEVELOPMENT = rig.ROOT / "compose.yaml"
PRODUCTION = rig.ROOT / "compose.production.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class NotSet(Exception):
    """A variable that the file asks for is not there; the text is what the file says about it."""


def read(path: Path, **said: str) -> dict[str, Any]:
    """The file with its variables filled in, as the shell or `.env` says, and every setting that is passed on."""
    document = _filled(yaml.safe_load(path.read_text()), said)
    for service in document["services"].values():
        given = service.get("environment", {})
        service["environment"] = {name: said.get(name) if value is None else value for name, value in given.items()}
    return document


def variables(path: Path) -> dict[str, str | None]:
    """The variables of a file that have a default or a complaint, with the default, else None."""
    found = _VARIABLE.findall(path.read_text())
    return {name: text if sign == "-" else None for name, sign, text in found}


def passed_on(document: dict[str, Any]) -> set[str]:
    """The settings that come from the shell or `.env` as they are there."""
    return set(document["x-settings"])


def _filled(value: Any, said: Mapping[str, str]) -> Any:
    def fill(match: re.Match[str]) -> str:
        name, sign, text = match.groups()
        if said.get(name):
            return said[name]
        if sign == "?":
            raise NotSet(text)
        return text or ""

    if isinstance(value, str):
        return _VARIABLE.sub(fill, value)
    if isinstance(value, dict):
        return {name: _filled(each, said) for name, each in value.items()}
    return [_filled(each, said) for each in value] if isinstance(value, list) else value


@dataclass
class Machine:
    """Where the services of a file run. `addresses`: from what stands in the file to what it is here."""

    document: dict[str, Any]
    home: Path
    addresses: dict[str, str]
    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    running: dict[str, Program] = field(default_factory=dict)

    def port(self, service: str, inside: int) -> int:
        """The port of this machine that stands for a port inside a container."""
        return self.ports.setdefault((service, inside), rig.free_port())

    def environment(self, service: str) -> dict[str, str]:
        """What the container would be given: by the image, then by the file."""
        (self.home / "kassa").mkdir(parents=True, exist_ok=True)
        said = self.document["services"][service]["environment"]
        given = {name: self._here(service, str(value)) for name, value in said.items() if value is not None}
        for name, other in ((name, value) for name, value in said.items() if value in self.document["services"]):
            port = name.replace("_HOST", "_PORT")
            given |= {name: "127.0.0.1", port: str(self.port(other, int(said[port])))}
        return {"KASSA_HOME": str(self.home / "kassa"), "LAN": "1", **given}

    def command(self, service: str) -> list[str]:
        """The words after `kassa`."""
        return [self._here(service, word) for word in self.document["services"][service]["command"]]

    def start(self, nursery: Nursery, service: str) -> Program:
        """Start a service, without waiting."""
        folder = self.home / service
        folder.mkdir(parents=True)
        self.running[service] = Program(nursery, self.command(service), self.environment(service), folder)
        self.running[service].start()
        return self.running[service]

    def is_well(self, service: str) -> bool:
        """What the service's own health check says."""
        kind, program, *words = self.document["services"][service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        return self.run(service, [sys.executable, *words]).returncode == 0

    def run(self, service: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        """What `docker compose exec` would do."""
        return subprocess.run(
            [self._here(service, word) for word in words],
            env=rig.clean_environment(**self.environment(service)),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _here(self, service: str, text: str) -> str:
        for there, here in self.addresses.items():
            text = text.replace(there, here)
        names = "|".join(map(re.escape, self.document["services"]))
        text = re.sub(rf"\b({names}):(\d+)", lambda found: f"127.0.0.1:{self.port(found[1], int(found[2]))}", text)
        text = re.sub(rf"//({names})\b(?!:)", "//127.0.0.1", text)
        own = self._inside(service)
        text = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: _own(found, own), text)
        return str(own.get(text, text))

    def _inside(self, service: str) -> dict[str, int]:
        """The ports that this container uses, and what they are here."""
        said = self.document["services"][service]
        ports = {value for name, value in said["environment"].items() if name in {"HTTP_PORT", "GRPC_PORT", "METRICS_PORT"}}
        ports |= {line.rpartition(":")[2] for line in said.get("ports", ())}
        return {port: self.port(service, int(port)) for port in ports}


def _own(found: re.Match[str], own: dict[str, int]) -> str:
    return f"127.0.0.1:{own.get(found[1], found[1])}"

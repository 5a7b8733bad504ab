"""Several hosts on one machine: network namespaces behind one switch, each with an address and a loopback of its own.

Nothing of it is seen by the rest of the machine: the switch stands in a namespace, too, and there is no way out. A namespace lives as
long as somebody holds it open, which is this process or one that runs there, and what runs there dies with this process. So nothing is
left behind, however a test ends.

    with hosts.network() as net:
        web, db = net.host("web"), net.host("db")
        subprocess.Popen(db.command(["postgres", …]))
        with web.inside():                   # this thread, and those that it begins, are on `web` now
            socket.create_connection((db.address, 5432))
        web.cut(db)                          # whatever one sends to the other gets lost
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

NETWORK = "10.77.0"
_PROGRAMS = ("ip", "nsenter", "setpriv")
_CLONE_NEWNET = 0x40000000
_NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has: what is sent there is heard by nobody."""


def why_not() -> str | None:
    """None where hosts can be made, else why not, in one line."""
    if sys.platform != "linux":
        return "hosts of one's own are network namespaces, which only Linux has"
    if os.geteuid() != 0:
        return "hosts of one's own (network namespaces) need root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"hosts of one's own need `{missing[0]}` (packages iproute2, util-linux)"
    try:
        with network() as tried:
            tried.host("one").cut(tried.host("two"))
    except (OSError, subprocess.CalledProcessError):
        return "this machine lets nobody make network namespaces with a bridge between them"
    return None


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A switch to which hosts can be plugged. At the end everything that runs on them is killed, and they are gone."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


class Network:
    """Hosts by their names. Use `network()`."""

    def __init__(self) -> None:
        self._switch = _Namespace()
        self.hosts: dict[str, Host] = {}
        self._switch.run("ip", "link", "add", "switch", "type", "bridge")
        self._switch.run("ip", "link", "set", "switch", "up")

    def host(self, name: str) -> Host:
        """The host of this name, plugged in at its first mention."""
        if name not in self.hosts:
            number = len(self.hosts) + 1
            made = Host(name, f"{NETWORK}.{number}", _Namespace(), self._switch, f"port{number}")
            made.plug_in()
            self.hosts[name] = made
        return self.hosts[name]

    def close(self) -> None:
        """Kill what runs on any host and let all of them go. Safe to call twice."""
        while self.hosts:
            _, host = self.hosts.popitem()
            host.kill()
            host.namespace.close()
        self._switch.close()


@dataclass
class Host:
    """One machine: `address` on the network that it shares with the others, and every port free."""

    name: str
    address: str
    namespace: _Namespace
    switch: _Namespace
    port: str
    _cut: set[str] = field(default_factory=set)

    def plug_in(self) -> None:
        """A cable from the switch to `eth0` of this host. Called once, by the network."""
        self.switch.run("ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace.path)
        self.switch.run("ip", "link", "set", self.port, "master", "switch", "up")
        self.namespace.run("ip", "link", "set", "lo", "up")
        self.namespace.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.namespace.run("ip", "link", "set", "eth0", "up")

    def command(self, words: list[str]) -> list[str]:
        """How to start `words` on this host. The process keeps the pid that it was started with, and dies with the thread that starts it."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.namespace.path}", "--", *words]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """In the block this thread is on this host, and so is every thread that it begins; sockets stay where they were opened."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _go_to(self.namespace.descriptor)
            try:
                yield
            finally:
                _go_to(before)
        finally:
            os.close(before)

    def cut(self, other: Host) -> None:
        """From now on nothing that one of the two sends to the other arrives, and nobody is told so. A second time changes nothing."""
        for one, two in ((self, other), (other, self)):
            one.namespace.run("ip", "neigh", "replace", two.address, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
            one._cut.add(two.address)

    def mend(self, other: Host) -> None:
        """After `cut`: they hear each other again. Does nothing for two that do."""
        for one, two in ((self, other), (other, self)):
            if two.address in one._cut:
                one.namespace.run("ip", "neigh", "del", two.address, "dev", "eth0")
                one._cut.discard(two.address)

    def pull_the_plug(self) -> None:
        """Its cable is out: it hears nobody, and nobody hears it."""
        self.switch.run("ip", "link", "set", self.port, "down")

    def put_the_plug_in(self) -> None:
        """After `pull_the_plug`."""
        self.switch.run("ip", "link", "set", self.port, "up")

    def processes(self) -> list[psutil.Process]:
        """Whatever runs there, this process not counted."""
        return [each for each in psutil.process_iter() if each.pid != os.getpid() and self._has(each.pid)]

    def kill(self) -> None:
        """`kill -9` of everything that runs there, as a power cut would."""
        while found := self.processes():  # again, because one of them may have begun another meanwhile
            for each in found:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            time.sleep(0.01)

    def _has(self, pid: int) -> bool:
        try:
            return os.path.samestat(Path(f"/proc/{pid}/ns/net").stat(), os.fstat(self.namespace.descriptor))
        except OSError:
            return False


class _Namespace:
    """A network namespace that lives until it is closed and nobody runs in it any more."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(1) as thread:  # a thread of its own goes there, and ends
            self.descriptor = thread.submit(_new).result()

    @property
    def path(self) -> str:
        """Where other programs find it, as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def run(self, *words: str) -> None:
        """Run a command there to its end. Raises `CalledProcessError`."""
        subprocess.run(["nsenter", f"--net={self.path}", "--", *words], check=True, capture_output=True, timeout=20)

    def close(self) -> None:
        """Hold it no longer. Safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _new() -> int:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _go_to(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

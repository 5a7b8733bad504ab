"""The gRPC surface in a process of its own, and certificates for it."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests import rig
from tests.contracts.grpc.callers import Caller


def a_secret() -> str:
    """A good `KASSA_SECRET`."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Alone(rig.Running):
    """A process that serves gRPC alone; it is ready when `Health` answers."""

    address: str = ""
    credentials: grpc.ChannelCredentials | None = None

    def start(self) -> None:
        """Start the process and wait until it is ready; fails with the end of its log if it does not come up."""
        assert self.process is None, "it is running already"
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + rig.START_TIMEOUT_S
        while not self._answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{' '.join(self.command[1:])} did not come up (exit code {code}):\n{self.log_text()[-4000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        caller = Caller(self.address, credentials=self.credentials)
        try:
            return caller.health(timeout=2) == "ok"
        except grpc.RpcError:
            return False
        finally:
            caller.close()


def alone(home: Path, port: int, *module: str, credentials: grpc.ChannelCredentials | None = None, **settings: str) -> Alone:
    """`python -m <module>` with these settings and no others, not started yet; it should answer on this port."""
    command = [sys.executable, "-m", *module]
    environment = rig.clean_environment(**{"KASSA_HOME": str(home), "DATABASE_POOL_SIZE": "6", **settings})
    return Alone(command, environment, home, "", address=f"127.0.0.1:{port}", credentials=credentials)


def said_no(home: Path, *module: str, **settings: str) -> str:
    """The one line with which `python -m <module>` declines to start."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=rig.clean_environment(**{"KASSA_HOME": str(home), "HTTP_PORT": str(rig.free_port()), **settings}),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode not in {0, None}, done
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def certificate(folder: Path) -> tuple[Path, Path, bytes]:
    """A new self-signed certificate for this machine: the files of certificate and key, and what clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    here = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cert.pem").write_bytes(trusted)
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem", trusted

"""What `kassa dev` prints when it is ready: what to open, and lines that work when they are pasted."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from kassa.cli.show import people
from kassa.cli.token import make_token
from kassa.settings import Settings, demo_password

_TOKEN_S = 12 * 3600
_BUY = """\
API={api}
TOKEN={token}
curl -s $API/api/cart/items -H "Authorization: Bearer $TOKEN" -d '{{"productId": "prod_001", "quantity": 2}}'
curl -s $API/api/orders -H "Authorization: Bearer $TOKEN" -d '{{"paymentMethod": "credit_card", "shippingAddress":
  {{"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}}}}'
curl -s $API/api/orders -H "Authorization: Bearer $TOKEN"
"""
_BOOK = """\
curl -s $API/cart/items -H "Authorization: Bearer $TOKEN" -d '{{"ambassador_id": 1}}'
curl -s -X POST $API/checkout -H "Authorization: Bearer $TOKEN"     # then open {api}/sandbox/payme/<purchase_id>
"""


def welcome(settings: Settings, took_s: float) -> None:
    """Print it. `took_s`: seconds from the command to the first answer."""
    api = f"http://localhost:{settings.http_port}"
    expires = int(time.time()) + _TOKEN_S
    where = (
        "DATABASE_URL"
        if "host=%2F" not in settings.database_url
        else f"{settings.kassa_home} (embedded PostgreSQL, kept between starts)"
    )
    screen = people()

    def line(text: str) -> None:
        screen.print(text, soft_wrap=True)

    line(f"\n[bold green]Kassa is ready[/] after {took_s:.1f} s.\n")
    if settings.surfaces == ("grpc",):
        line(f"  gRPC           {_grpc(settings)}")
        line(f"  Data           {where}")
        if Path("examples/grpc_client.py").is_file():  # a checkout has it, an installed Kassa has not
            line(f"\nTry it: [cyan].venv/bin/python examples/grpc_client.py localhost:{settings.grpc_port}[/]")
        line("\nCtrl-C stops it.\n")
        return
    pages = settings.pages or ()
    if "shop" in pages:
        line(f"  The shop       [cyan]{api}/shop[/]")
    if "office" in pages:
        named = f"operator or admin, password {demo_password(settings.kassa_home)}"
        line(f"  Its office     [cyan]{api}/office[/]  ({named})")
    line(f"  Try the APIs   [cyan]{api}/docs[/]" + (f" and [cyan]{api}/develop[/]" if "develop" in pages else ""))
    line(f"  The sandbox    [cyan]{api}/sandbox/control[/]")
    for address in _addresses() if settings.lan else []:
        line(f"  From outside   [cyan]http://{address}:{settings.http_port}[/]  (LAN=1)")
    if "grpc" in settings.surfaces:
        line(f"  gRPC           {_grpc(settings)}")
    line(f"  Data           {where}")
    line("\n[bold]Buy something[/] (paste it into another terminal):\n")
    screen.out(_BUY.format(api=api, token=make_token(settings, "1", "user", expires)))
    if "purchases" in settings.surfaces and settings.payme_key:
        line("[bold]Book an ambassador[/], and pay at a stand-in for Payme:\n")
        screen.out(_BOOK.format(api=api))
    line("[bold]The shop's side[/] (`kassa token --user 2` makes other buyers; all tokens here are good for 12 h):\n")
    screen.out(f"STAFF={make_token(settings, '900', 'staff', expires)}\n")
    line("Ctrl-C stops it.\n")


def _grpc(settings: Settings) -> str:
    """Where gRPC answers, as a command that lists it where `grpcurl` is installed."""
    plain = "" if settings.grpc_tls_cert else "-plaintext "
    return f"[cyan]localhost:{settings.grpc_port}[/]  (grpcurl {plain}localhost:{settings.grpc_port} list)"


def _addresses() -> list[str]:
    """This machine's address in its network. No packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [str(probe.getsockname()[0])]

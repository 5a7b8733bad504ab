"""Try a running Kassa from outside: buy as a guest over HTTP, ask for a payment over gRPC. The `test-client` of compose.yaml.

    docker compose run --rm test-client
    .venv/bin/python examples/test_client.py http://localhost:8000 localhost:7000

It needs the demo shop. Exit code 1, and a line that says what was wrong, when something is not as it should be.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
import uuid
from typing import Any

import grpc_client

HERE = ("http://localhost:8000", "localhost:7000")
WITHIN_S = 30


class Wrong(Exception):
    """Kassa did not do what it should."""


def buy_as_a_guest(api: str) -> None:
    """Items and a card in one call; the same call again is the same purchase."""
    _, shop = call(f"{api}/api/products?limit=1")
    product = shop["data"]["products"][0]
    print(f"HTTP  the shop sells {product['name']} and more")
    wish = {
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/30", "card_cvv": "123"},
        "customer_email": "customer@example.com",
        "shipping_address": {
            "street": "Rua das Flores", "number": "123", "city": "São Paulo", "state": "SP", "zip_code": "01234-567",
        },
        "items": [{"product_id": "prod_001", "quantity": 2, "price": 99.90}],
    }  # fmt: skip
    key = f"test-client-{uuid.uuid4()}"
    status, bought = call(f"{api}/checkout/process", wish, key)
    if status != 200:
        raise Wrong(f"the purchase was answered {status}: {bought}")
    again, same = call(f"{api}/checkout/process", wish, key)
    if (again, same) != (status, bought):
        raise Wrong("the same call again was answered otherwise")
    print(f"HTTP  bought: {bought}")
    print("HTTP  asked again under the same key: the same answer, no second charge")


def call(url: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Status and JSON of one request; a POST where there is a body."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)  # noqa: S310 - an operator's own
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        raise Wrong(f"{url} does not answer: {error}") from None


def main() -> int:
    """The exit code."""
    api, address = sys.argv[1:] if len(sys.argv) == 3 else HERE
    try:
        buy_as_a_guest(api.rstrip("/"))
    except Wrong as wrong:
        print(f"test client: {wrong}", file=sys.stderr)
        return 1
    print(f"gRPC  at {address}:")
    grpc_client.with_the_stubs(address)
    grpc_client.with_the_typed_client(address)
    print("Both surfaces do what they should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

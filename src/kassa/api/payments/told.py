"""How the handlers of the payments contract are declared, so that its document is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from kassa.api.describe import Parameter, answers, operation, parameter
from kassa.api.payments.answers import Problem

PAYMENT_ID = parameter("path", "payment_id", "The payment's id.")
CREDENTIALS: list[dict[str, list[str]]] = [{"apiKey": []}, {"merchant": []}]
_DENIED = ("unauthorized", "unknown_merchant", "invalid_api_key")


def told(
    status: int, model: type[BaseModel], about: str, example: Any, errors: Mapping[int, Sequence[str]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """The answers of a handler: the good one and the codes of the others, those of every route with them."""
    codes: dict[int, Sequence[str]] = {401: _DENIED, 403: ("insufficient_scope", "merchant_mismatch"), 503: ("unavailable",)}
    for code, words in (errors or {}).items():
        codes[code] = (*codes.get(code, ()), *words)
    return answers(status, model, about, example, dict(sorted(codes.items())), Problem)


def called(
    *parameters: Parameter, body: type[BaseModel] | None = None, example: Any = None, public: bool = False
) -> dict[str, Any]:
    """What a handler takes: parameters, body, and who may call it."""
    extra = operation(*parameters, body=body, example=example, secured=False)
    extra["security"] = [*([{}] if public else []), *CREDENTIALS]
    return extra

"""How a handler is declared so that its document is complete: parameters, request body, security, answers, examples.

A handler takes its request as a `Call` and reads everything itself; what FastAPI would see in a signature is said here instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

BODIES: dict[str, type[BaseModel]] = {}
"""The models of request bodies by name: operations point to them, and a document holds those that it points to."""

Parameter = dict[str, Any]


def parameter(where: str, name: str, about: str, **schema: Any) -> Parameter:
    """A parameter in `path`, `query` or `header`; `schema` is JSON schema."""
    return {
        "in": where,
        "name": name,
        "required": where == "path",
        "description": about,
        "schema": schema or {"type": "string"},
    }


IDEMPOTENCY_KEY = parameter(
    "header",
    "Idempotency-Key",
    "8 to 255 visible ASCII characters. The same key with the same request gets the first answer again, marked "
    "`Idempotent-Replayed: true`.",
    type="string",
    minLength=8,
    maxLength=255,
    example="order-form-7731",
)
ACCEPT_LANGUAGE = parameter(
    "header",
    "Accept-Language",
    "In which of English, Russian and Uzbek the buyer gets e-mails about this order; else in English. Answers are in English.",
    type="string",
)
REQUEST_ID = parameter(
    "header",
    "X-Request-Id",
    "Taken over if it is 1 to 128 visible ASCII characters, else made; returned on every answer.",
    type="string",
)
PAGE = parameter("query", "page", "Counts from 1.", type="integer", minimum=1, default=1)
LIMIT = parameter("query", "limit", "Rows of one page.", type="integer", minimum=1, maximum=100, default=20)


def operation(
    *parameters: Parameter,
    body: type[BaseModel] | None = None,
    example: Any = None,
    secured: bool | None = True,
    body_required: bool = True,
) -> dict[str, Any]:
    """What is added to the document of one handler. `secured`: True needs a token, None takes one, False takes none."""
    extra: dict[str, Any] = {"parameters": [*parameters, REQUEST_ID]}
    if body is not None:
        content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
        if example is not None:
            content["example"] = example
        extra["requestBody"] = {"required": body_required, "content": {"application/json": content}}
        BODIES[body.__name__] = body
    if secured is not False:
        extra["security"] = [{"bearer": []}] if secured else [{}, {"bearer": []}]
    return extra


def answers(
    status: int, model: type[BaseModel], about: str, example: Any, errors: Mapping[int, Sequence[str]], error_model: type[BaseModel]
) -> dict[int | str, dict[str, Any]]:
    """The answers of one handler: the good one, and for each error status its codes."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": about, "content": {"application/json": {"example": example}}}
    }
    for error_status, codes in errors.items():
        told[error_status] = {"model": error_model, "description": " · ".join(f"`{code}`" for code in codes)}
    return told

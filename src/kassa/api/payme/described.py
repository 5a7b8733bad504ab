"""Payme's door as the OpenAPI document shows it. These routes are never called: the door answers every verb before them."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.describe import operation, parameter
from kassa.api.payme.door import PATH
from kassa.api.payme.methods import METHODS
from kassa.api.payme.words import CATALOGUE, FAILED, failed

router = APIRouter(tags=["payme"])


class RpcCall(BaseModel):
    """A call of Payme's. Other members are ignored, `jsonrpc` too."""

    model_config = ConfigDict(extra="ignore")

    method: str = Field(min_length=1, description=" · ".join(METHODS))
    params: dict[str, Any] = Field(description="Named parameters of the method; amounts are whole numbers of tiyin.")
    id: int | str | None = Field(None, description="Comes back with the answer.")


class RpcText(BaseModel):
    """What is shown to a payer."""

    ru: str
    uz: str
    en: str


class RpcError(BaseModel):
    """Why not."""

    code: int = Field(description=" · ".join(f"`{code}` {texts['en']}" for code, texts in CATALOGUE.items()))
    message: RpcText
    data: str | None = Field(description="The parameter, the member of `account` or the method that is meant.")


class RpcAnswer(BaseModel):
    """Either `result` or `error`, with status 200 whatever happened."""

    jsonrpc: Literal["2.0"]
    id: int | str | None
    result: dict[str, Any] | None = None
    error: RpcError | None = None


_ORDER = "019b76da-a800-7c3e-9f51-2d8e6a4b7c10"
_DECLARED: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {
            "model": RpcAnswer,
            "description": "Every answer, also to a wrong verb, wrong credentials and what is no JSON.",
            "content": {"application/json": {"example": {"jsonrpc": "2.0", "id": 7001, "result": {"allow": True}}}},
        }
    },
}
_EXAMPLE = {"method": "CheckPerformTransaction", "id": 7001, "params": {"amount": 7500000, "account": {"order_id": _ORDER}}}


def _asks(*parameters: dict[str, Any]) -> dict[str, Any]:
    return operation(*parameters, body=RpcCall, example=_EXAMPLE, secured=False) | {"security": [{"basic": []}]}


@router.post(PATH, openapi_extra=_asks(), **_DECLARED)
async def take_call(_call: Call) -> Answer:
    """Take a call of Payme's Merchant API for the house's cashbox. Sent again, it has the same result and no further effect."""
    return failed(None, FAILED)


@router.post(
    PATH + "/{merchant_id}",
    openapi_extra=_asks(parameter("path", "merchant_id", "Whose cashbox, key and orders.")),
    **_DECLARED,
)
async def take_call_for(_call: Call) -> Answer:
    """The same for another merchant's cashbox. A key never opens the orders of another merchant."""
    return failed(None, FAILED)

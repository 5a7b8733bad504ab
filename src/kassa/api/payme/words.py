"""What Payme is answered: always HTTP 200, with a result or with an error in three languages (Payme specification, 2.3, 2.4, 6)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import IO, Any, Final

import orjson

from kassa.api.answers import Answer
from kassa.api.errors import UnknownPath, WrongVerb
from kassa.api.options import ASGIApp, Receive, Scope, Send
from kassa.kit.errors import KassaError

Id = int | str | None
"""What names a call: it is echoed with its type and value, null where it could not be read."""

CONTENT_TYPE: Final = b"application/json; charset=UTF-8"

_PART: Final = 64 * 1024

WRONG_VERB: Final = -32300
NOT_JSON: Final = -32700
MALFORMED: Final = -32600
UNKNOWN_METHOD: Final = -32601
NOT_ALLOWED: Final = -32504
FAILED: Final = -32400
BAD_FISCAL: Final = -32602

CATALOGUE: Final[dict[int, dict[str, str]]] = {
    code: {"ru": ru, "uz": uz, "en": en}
    for code, ru, uz, en in (
        (
            WRONG_VERB,
            "Запрос должен быть отправлен методом POST",
            "So'rov POST usulida yuborilishi kerak",
            "The request must use POST",
        ),
        (NOT_JSON, "Тело запроса не разбирается как JSON", "So'rov matni JSON emas", "The request body is not JSON"),
        (MALFORMED, "Некорректная структура запроса", "So'rov tuzilishi noto'g'ri", "Malformed request"),
        (UNKNOWN_METHOD, "Такой метод не поддерживается", "Bunday metod qo'llab-quvvatlanmaydi", "Method is not supported"),
        (NOT_ALLOWED, "Доступ запрещён", "Ruxsat berilmagan", "Access denied"),
        (FAILED, "Временная ошибка, повторите позже", "Vaqtinchalik xatolik, keyinroq urining", "Temporary error, try again later"),
        (-31001, "Сумма не совпадает с заказом", "Summa buyurtmaga mos emas", "Amount does not match the order"),  # noqa: RUF001 - Russian
        (-31003, "Нет такой транзакции", "Bunday tranzaksiya yo'q", "No such transaction"),
        (
            -31007,
            "Заказ уже выдан, отмена невозможна",
            "Buyurtma topshirilgan, bekor qilib bo'lmaydi",
            "Order already fulfilled, cannot cancel",
        ),
        (-31008, "Операция недоступна в текущем состоянии", "Joriy holatda amal bajarilmaydi", "Not possible in the current state"),
        (-31050, "Заказ не найден", "Buyurtma topilmadi", "Order not found"),
        (-31051, "Заказ уже оплачивается", "Buyurtma uchun to'lov jarayonda", "Order is already being paid"),
        (-31052, "Заказ уже оплачен", "Buyurtma allaqachon to'langan", "Order is already paid"),
        (-31053, "Заказ закрыт для оплаты", "Buyurtma to'lovga yopiq", "Order is closed for payment"),
        (-32001, "Чек не найден", "Chek topilmadi", "Receipt not found"),
        (BAD_FISCAL, "Неверные параметры", "Parametrlar noto'g'ri", "Invalid parameters"),
    )
}
_WRITTEN = {code: b'"code":%d,"message":%b' % (code, orjson.dumps(texts)) for code, texts in CATALOGUE.items()}


def succeeded(call_id: Id, result: dict[str, Any] | IO[bytes]) -> ASGIApp:
    """The answer with a `result`. One that is a file holds JSON already; it is sent in parts, and closed."""
    before = b'{"jsonrpc":"2.0","id":%b,"result":' % _text(call_id)
    if isinstance(result, dict):
        return Answer(200, before + json.dumps(result).encode() + b"}", content_type=CONTENT_TYPE)
    return Long(before, result, b"}")


def failed(call_id: Id, code: int, data: str | None = None) -> Answer:
    """The answer with an error. Raises `KeyError` for a code that the catalogue does not know."""
    body = b'{"jsonrpc":"2.0","id":%b,"error":{%b,"data":%b}}' % (_text(call_id), _WRITTEN[code], _text(data))
    return Answer(200, body, content_type=CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class Long:
    """An answer whose middle stands in a file. It can be sent once."""

    before: bytes
    middle: IO[bytes]
    after: bytes

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it, and close the file."""
        with self.middle:
            size = self.middle.seek(0, os.SEEK_END)
            self.middle.seek(0)
            length = str(len(self.before) + size + len(self.after)).encode()
            headers = [(b"content-type", CONTENT_TYPE), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self.before, "more_body": True})
            while part := self.middle.read(_PART):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": self.after})


def _text(value: Id) -> bytes:
    # In ASCII, by the standard library: what is given back may hold half of a surrogate pair, or a number of more than 64 bits.
    return json.dumps(value).encode("ascii")


class Rpc:
    """The dialect of whatever else lies below `/payme`: Payme takes every status but 200 for a failure of its own kind."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        match error:
            case UnknownPath():  # nobody's cashbox is there
                return failed(None, NOT_ALLOWED)
            case WrongVerb():
                return failed(None, WRONG_VERB)
            case _:
                return failed(None, FAILED)

"""The error catalogue of the Payme specification (section 6): per code the three texts, Russian, Uzbek and English."""

from __future__ import annotations

from typing import Final

NOT_POST: Final = -32300
NOT_JSON: Final = -32700
MALFORMED: Final = -32600
NO_METHOD: Final = -32601
DENIED: Final = -32504
TROUBLE: Final = -32400
AMOUNT: Final = -31001
NO_TRANSACTION: Final = -31003
FULFILLED: Final = -31007
NOT_NOW: Final = -31008
NO_ORDER: Final = -31050
BUSY: Final = -31051
PAID: Final = -31052
CLOSED: Final = -31053
NO_RECEIPT: Final = -32001
BAD_PARAMS: Final = -32602

TEXTS: Final[dict[int, tuple[str, str, str]]] = {
    NOT_POST: (
        "Запрос должен быть отправлен методом POST",
        "So'rov POST usulida yuborilishi kerak",
        "The request must use POST",
    ),
    NOT_JSON: ("Тело запроса не разбирается как JSON", "So'rov matni JSON emas", "The request body is not JSON"),
    MALFORMED: ("Некорректная структура запроса", "So'rov tuzilishi noto'g'ri", "Malformed request"),
    NO_METHOD: ("Такой метод не поддерживается", "Bunday metod qo'llab-quvvatlanmaydi", "Method is not supported"),
    DENIED: ("Доступ запрещён", "Ruxsat berilmagan", "Access denied"),
    TROUBLE: (
        "Временная ошибка, повторите позже",
        "Vaqtinchalik xatolik, keyinroq urining",
        "Temporary error, try again later",
    ),
    AMOUNT: ("Сумма не совпадает с заказом", "Summa buyurtmaga mos emas", "Amount does not match the order"),  # noqa: RUF001 (Russian)
    NO_TRANSACTION: ("Нет такой транзакции", "Bunday tranzaksiya yo'q", "No such transaction"),
    FULFILLED: (
        "Заказ уже выдан, отмена невозможна",
        "Buyurtma topshirilgan, bekor qilib bo'lmaydi",
        "Order already fulfilled, cannot cancel",
    ),
    NOT_NOW: (
        "Операция недоступна в текущем состоянии",
        "Joriy holatda amal bajarilmaydi",
        "Not possible in the current state",
    ),
    NO_ORDER: ("Заказ не найден", "Buyurtma topilmadi", "Order not found"),
    BUSY: ("Заказ уже оплачивается", "Buyurtma uchun to'lov jarayonda", "Order is already being paid"),
    PAID: ("Заказ уже оплачен", "Buyurtma allaqachon to'langan", "Order is already paid"),
    CLOSED: ("Заказ закрыт для оплаты", "Buyurtma to'lovga yopiq", "Order is closed for payment"),
    NO_RECEIPT: ("Чек не найден", "Chek topilmadi", "Receipt not found"),
    BAD_PARAMS: ("Неверные параметры", "Parametrlar noto'g'ri", "Invalid parameters"),
}


def message(code: int) -> dict[str, str]:
    """What the `message` of an error must be, word for word."""
    return dict(zip(("ru", "uz", "en"), TEXTS[code], strict=True))

"""Pictures of products, drawn from their ids: the same id always looks the same, and no file is needed."""

from __future__ import annotations

import hashlib
import re

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import UnknownPath

_NAME = re.compile(r"([A-Za-z0-9_.\-]{1,50})\.svg")
_A_WEEK = (b"cache-control", b"public, max-age=604800")
_SVG = b"image/svg+xml"


async def show(call: Call) -> Answer:
    """`/shop/pictures/{product_id}.svg`. Raises `UnknownPath`; whether there is such a product is not asked."""
    found = _NAME.fullmatch(call.in_path["name"])
    if found is None:
        raise UnknownPath
    return Answer(200, draw(found[1]).encode(), (_A_WEEK,), _SVG)


def draw(product_id: str) -> str:
    """An SVG of 4 by 3: two tones of a colour, and three shapes of others."""
    dice = hashlib.sha256(product_id.encode()).digest()
    hue = dice[0] * 360 // 256
    shapes = "".join(_shape(dice[index : index + 6], (hue + turn) % 360) for index, turn in ((1, 40), (7, 180), (13, 220)))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300" width="400" height="300">'
        f'<defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="hsl({hue},45%,88%)"/>'
        f'<stop offset="1" stop-color="hsl({(hue + 30) % 360},40%,70%)"/></linearGradient></defs>'
        f'<rect width="400" height="300" fill="url(#g)"/>{shapes}</svg>'
    )


def _shape(dice: bytes, hue: int) -> str:
    x, y, size = 90 + dice[0] * 220 // 256, 70 + dice[1] * 160 // 256, 40 + dice[2] * 50 // 256
    look = f'fill="hsl({hue},55%,{45 + dice[3] % 20}%)" fill-opacity=".8"'
    match dice[4] % 4:
        case 0:
            return f'<circle cx="{x}" cy="{y}" r="{size}" {look}/>'
        case 1:
            turn = dice[5] % 90
            at = f'x="{x - size}" y="{y - size}" width="{2 * size}" height="{2 * size}" rx="14"'
            return f'<rect {at} transform="rotate({turn} {x} {y})" {look}/>'
        case 2:
            return f'<path d="M{x} {y - size}L{x + size} {y + size}H{x - size}z" {look}/>'
        case _:
            return f'<ellipse cx="{x}" cy="{y}" rx="{size * 3 // 2}" ry="{size * 2 // 3}" {look}/>'

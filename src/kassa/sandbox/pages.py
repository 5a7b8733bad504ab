"""The pages a buyer sees. No script, no picture, nothing from elsewhere; they fit a phone and the dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from kassa.sandbox.model import Reply

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)
_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--soft:#5b6775;--paper:#fff;--ground:#eef1f5;--line:#d9dfe6;--go:#0a7d4f}
@media (prefers-color-scheme:dark){:root{--ink:#eef2f6;--soft:#9aa7b5;--paper:#1b232d;--ground:#10161d;--line:#303b47;
--go:#178a5e}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.25rem;background:var(--ground);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;background:var(--paper);border:1px solid var(--line);border-radius:1rem;padding:1.75rem}
h1{margin:0 0 .25rem;font-size:1.15rem}
.sum{margin:.75rem 0 1.25rem;font-size:2.25rem;font-weight:700;letter-spacing:-.02em;overflow-wrap:anywhere}
.sum small{font-size:1rem;font-weight:500;color:var(--soft)}
dl{margin:0 0 1.5rem;padding:1rem 0;border-block:1px solid var(--line)}
dl div{display:flex;justify-content:space-between;gap:1rem}
dt,.note{color:var(--soft)}dd{margin:0;text-align:right;overflow-wrap:anywhere}
.note{margin:1.25rem 0 0;font-size:.875rem;text-align:center}
form{margin:0 0 .75rem}
button{width:100%;min-height:3rem;border:1px solid var(--line);border-radius:.75rem;background:none;color:inherit;
font:600 1rem system-ui,sans-serif;cursor:pointer}
button.go{background:var(--go);border-color:var(--go);color:#fff}
input{width:100%;min-height:3rem;padding:0 .75rem;border:1px solid var(--line);border-radius:.75rem;background:none;
color:inherit;font:inherit}
a{color:inherit}
h2{margin:1.5rem 0 .5rem;font-size:.875rem;color:var(--soft)}
ol{margin:0;padding:0 0 0 1.25rem;font-size:.875rem}li{margin:0 0 .75rem}
small{color:var(--soft)}
code{display:block;font:.75rem/1.5 ui-monospace,monospace;color:var(--soft);overflow-wrap:anywhere}
button:focus-visible,input:focus-visible,a:focus-visible{outline:3px solid var(--go);outline-offset:2px}
"""
_SHOWN = (("Order", "order_id"), ("Merchant", "merchant_id"), ("Provider", "provider"), ("Pay until", "expires_at"))
_OUTCOME = {
    "finished": ("Paid", "Thank you. You can close this page."),
    "failed": ("Declined", "Nothing was charged. You can close this page."),
}


def pay(token: str, facts: Mapping[str, Any], state: str, *, code: int = 200) -> Reply:
    """The sum and two buttons; or, once the buyer has decided, what was decided. Money is shown in major units."""
    rows = "".join(f"<div><dt>{label}</dt><dd>{escape(str(facts[name]))}</dd></div>" for label, name in _SHOWN if name in facts)
    price, currency = escape(str(facts.get("price", ""))), escape(str(facts.get("currency", "")))
    sum_ = f'<p class="sum">{price} <small>{currency}</small></p>' if price else ""
    if state == "open":
        # The address is relative, so that the page works behind a gateway that puts it below another path.
        action = f"../payments/{escape(token)}"
        title = "Your payment"
        below = (
            f'<form method="post" action="{action}/accept"><button class="go">Pay</button></form>'
            f'<form method="post" action="{action}/decline"><button>Decline</button></form>'
        )
    else:
        title, line = _OUTCOME[state]
        below = f'<p class="note" role="status">{line}</p>'
    return page(code, title, f"{sum_}<dl>{rows}</dl>{below}")


def message(code: int, title: str, line: str) -> Reply:
    """A page that says one thing."""
    return page(code, title, f"<p>{escape(line)}</p>")


def page(code: int, title: str, inner: str) -> Reply:
    """A page around `inner`, which is HTML."""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{inner}"
        '<p class="note">Sandbox: no real money moves here.</p></main></body></html>'
    )
    return Reply(code, html.encode(), headers=_HEADERS, content_type="text/html; charset=utf-8")

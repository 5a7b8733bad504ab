"""Pages are rendered here: one set of templates, one policy for what a browser may do, one way to speak a language."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kassa.api.answers import Answer, Header
from kassa.api.call import Call, header
from kassa.pages import show
from kassa.pages.language import Speech, speech_of
from kassa.pages.static import address_of_file

HTML = b"text/html; charset=utf-8"
_POLICY = b"""default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; \
manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"""
_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY),
    # With `no-referrer` a browser sends `Origin: null` with our own forms, and `form.read` could not tell them from a stranger's.
    (b"referrer-policy", b"same-origin"),
    (b"vary", b"accept-language, cookie, hx-request"),
)


def page(call: Call, template: str, *headers: Header, status: int = 200, **values: Any) -> Answer:
    """A whole page, in the caller's language, from `templates/<template>`; `values` are what it shows.

    Every value is text there, whatever it holds: only templates write HTML. A template asks `t("word.key", name=value)` for words,
    and has the filters of `show` for money and times. It is never kept by a browser or a proxy.
    """
    speech = speech_of(call.scope)
    html = (
        _templates()
        .get_template(template)
        .render(
            {"t": speech.say, "speech": speech, "path": call.scope["path"], "here": _here(call), "is_part": is_part(call), **values}
        )
    )
    return Answer(status, html.encode(), (*_HEADERS, *headers), HTML)


def bare_page(template: str, *, status: int, **values: Any) -> Answer:
    """A page for nobody in particular: an error whose request is not at hand. In English."""
    speech = Speech("en")
    html = (
        _templates()
        .get_template(template)
        .render({"t": speech.say, "speech": speech, "path": "/", "here": "/", "is_part": False, **values})
    )
    return Answer(status, html.encode(), _HEADERS, HTML)


def see_other(address: str, *headers: Header) -> Answer:
    """After a form: go and look there. A repeat of that page by its button asks, and does not act again."""
    return Answer(303, b"", ((b"location", quote(address, safe="/?&=#%:+,").encode()), *headers), HTML)


def is_part(call: Call) -> bool:
    """Whether a script on one of our pages asks for a part of it; a person's browser asks for the whole."""
    return header(call.scope, b"hx-request") == "true"


def _here(call: Call) -> str:
    """The address of this page with its query: a link's token is in it."""
    query = call.scope.get("query_string", b"").decode("latin-1")
    return f"{call.scope['path']}?{query}" if query else str(call.scope["path"])


@cache
def _templates() -> Environment:
    # A name that is not there is an error: a page never shows an empty place where a sum should stand.
    made = Environment(
        loader=PackageLoader("kassa.pages"),
        autoescape=select_autoescape(("html", "svg"), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(show.FILTERS)
    made.globals["file"] = address_of_file
    return made


__all__ = ["HTML", "Speech", "bare_page", "is_part", "page", "see_other"]

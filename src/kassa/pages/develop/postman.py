"""The samples as a Postman collection (format v2.1): a folder for each contract, a folder in it for each tag. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from kassa.pages.develop.samples import CONTRACTS, Sample, variable

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
"""What the collection says that it follows."""
_ABOUT = "Every call of every contract, made from the OpenAPI documents. Set the variables once; `{{token}}` is a buyer's JWT."


def collection(samples: Mapping[str, Sequence[Sample]], values: Mapping[str, str]) -> dict[str, Any]:
    """The collection of the contracts in `samples`; `values` by the names of the shell's variables become the collection's own."""
    named = {variable(name): "" for each in samples.values() for sample in each for name in sample.names}
    known = {"API": "", "TOKEN": "", "STAFF": "", "KEY": "", "PAYME_LOGIN": "Paycom", "PAYME_KEY": "", **named, **values}
    return {
        "info": {"_postman_id": str(uuid5(NAMESPACE_URL, "kassa")), "name": "Kassa", "description": _ABOUT, "schema": SCHEMA},
        "item": [
            {"name": contract, "description": CONTRACTS.get(contract, ""), "item": _folders(each)}
            for contract, each in samples.items()
        ],
        "variable": [{"key": name.lower(), "value": value, "type": "string"} for name, value in known.items()],
    }


def _folders(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    tags = dict.fromkeys(sample.tag for sample in samples)
    return [{"name": tag, "item": [_item(sample) for sample in samples if sample.tag == tag]} for tag in tags]


def _item(sample: Sample) -> dict[str, Any]:
    path = re.sub(r"\{(\w+)\}", r":\1", sample.path)
    query = "&".join(f"{name}={value}" for name, value in sample.query)
    url: dict[str, Any] = {
        "raw": "{{api}}" + path + (f"?{query}" if query else ""),
        "host": ["{{api}}"],
        "path": path[1:].split("/"),
    }
    if sample.names:
        url["variable"] = [{"key": name, "value": "{{" + variable(name).lower() + "}}"} for name in sample.names]
    if sample.query:
        url["query"] = [{"key": name, "value": value} for name, value in sample.query]
    request: dict[str, Any] = {
        "method": sample.method,
        "header": [{"key": name, "value": value} for name, value in _headers(sample)],
        "url": url,
        "description": sample.about,
        "auth": _auth(sample),
    }
    if sample.body is not None:
        written = json.dumps(sample.body, indent=2, ensure_ascii=False)
        request["body"] = {"mode": "raw", "raw": written, "options": {"raw": {"language": "json"}}}
    return {"name": sample.title, "request": request, "response": []}


def _headers(sample: Sample) -> list[tuple[str, str]]:
    found = [("X-Api-Key", "{{key}}")] if sample.shown == "key" else []
    if sample.takes_key:
        found.append(("Idempotency-Key", "{{$guid}}"))
    if sample.body is not None:
        found.append(("Content-Type", "application/json"))
    return found


def _auth(sample: Sample) -> dict[str, Any]:
    if sample.shown in {"token", "staff"}:
        return {"type": "bearer", "bearer": [{"key": "token", "value": "{{" + sample.shown + "}}", "type": "string"}]}
    if sample.shown == "cashbox":
        names = (("username", "{{payme_login}}"), ("password", "{{payme_key}}"))
        return {"type": "basic", "basic": [{"key": key, "value": value, "type": "string"} for key, value in names]}
    return {"type": "noauth"}

"""`/develop` and its calls: each operation as a command to paste, and all of them as a Postman collection."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from functools import cache

from fastapi import APIRouter

from kassa.api import openapi
from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call
from kassa.api.errors import UnknownPath
from kassa.pages.develop.known import address_of, known_values
from kassa.pages.develop.postman import collection
from kassa.pages.develop.samples import CONTRACTS, Sample, curl, preface, samples_of
from kassa.pages.frame import page
from kassa.pages.options import PageOptions

_IN_PATHS = frozenset({"API", "TOKEN", "STAFF", "KEY"})


def router(options: PageOptions) -> APIRouter:
    """The front page of the corner, the calls of each contract, the collection."""
    made = APIRouter(include_in_schema=False)
    served = {name: about for name, about in CONTRACTS.items() if name in options.surfaces}

    @made.get("/develop", response_model=None)
    async def corner(call: Call) -> Answer:
        return page(
            call,
            "develop/corner.html",
            contracts=served,
            has_docs=options.docs,
            inspects=options.demo_token is not None,
            api=address_of(call, options),
        )

    @made.get("/develop/calls/{contract}", response_model=None)
    async def calls(call: Call) -> Answer:
        contract = call.in_path["contract"]
        if contract not in served:
            raise UnknownPath
        samples = _samples(contract)
        values = await known_values(call, options)
        wanted = _IN_PATHS | {name.upper() for sample in samples for name in sample.names}
        return page(
            call,
            "develop/calls.html",
            contract=contract,
            about=served[contract],
            contracts=served,
            inspects=options.demo_token is not None,
            preface=preface({name: value for name, value in values.items() if name in wanted}),
            has_token=options.demo_token is not None,
            shown=[(sample, curl(sample)) for sample in samples],
        )

    @made.get("/develop/postman.json", response_model=None)
    async def postman(call: Call) -> Answer:
        values = await known_values(call, options)
        made_of = collection({name: _samples(name) for name in served}, values)
        return json_answer(200, made_of, (b"content-disposition", b'attachment; filename="kassa.postman_collection.json"'))

    return made


@cache
def _samples(contract: str) -> list[Sample]:
    """Of a contract; whether the process is up (`/health`, `/ready`) is no call of one."""
    return [sample for sample in samples_of(openapi.document(contract)) if sample.tag != "operation"]

"""Every operation has a command that can be pasted and an entry in the collection; none of them says a secret by itself."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from tests.rig import ROOT

from kassa.api import openapi
from kassa.pages.develop.postman import SCHEMA, collection
from kassa.pages.develop.proto import read_proto
from kassa.pages.develop.reference import _protos
from kassa.pages.develop.samples import CONTRACTS, Sample, curl, preface, samples_of

ALL = {name: samples_of(openapi.document(name)) for name in CONTRACTS}
EVERY = [pytest.param(sample, id=sample.operation) for samples in ALL.values() for sample in samples]


def words(command: str) -> list[str]:
    """The command's words as a shell would read them, with what it puts in left as it is."""
    return shlex.split(command.replace("\\\n", " "))


def test_no_operation_is_left_out() -> None:
    documents = [openapi.document(name)["paths"] for name in CONTRACTS]
    operations = {f"{method.upper()} {path}" for paths in documents for path, told in paths.items() for method in told}
    assert {sample.operation for samples in ALL.values() for sample in samples} == operations
    assert set(CONTRACTS) == set(openapi.CONTRACTS) - {"all"}


@pytest.mark.parametrize("sample", EVERY)
def test_a_command_says_method_address_and_body(sample: Sample) -> None:
    command = curl(sample)
    said = words(command)
    address = next(word for word in said if word.startswith("$API/"))
    assert re.fullmatch(r"\$API/[\w/$.?=&-]*", address), address
    assert "{" not in address
    for name in sample.names:
        assert f"${name.upper()}" in address
    if sample.body is None or sample.shown == "signature":
        assert "-d" not in said or sample.shown == "signature"
    else:
        assert json.loads(said[said.index("-d") + 1]) == sample.body
    implied = "POST" if "-d" in said else "GET"
    assert sample.method == (said[said.index("-X") + 1] if "-X" in said else implied)


@pytest.mark.parametrize("sample", EVERY)
def test_a_command_shows_what_the_contract_asks_for(sample: Sample) -> None:
    command = curl(sample)
    shown = {
        "token": '"Authorization: Bearer $TOKEN"',
        "staff": '"Authorization: Bearer $STAFF"',
        "key": '"X-Api-Key: $KEY"',
        "cashbox": '-u "$PAYME_LOGIN:$PAYME_KEY"',
        "signature": "X-Internal-Signature",
    }
    for kind, text in shown.items():
        assert (text in command) == (kind == sample.shown)
    assert ("Idempotency-Key" in command) == sample.takes_key


def test_values_cannot_break_out_of_their_line() -> None:
    said = preface({"API": "http://localhost:8000", "ORDER_ID": "x'; rm -rf / #"})
    assert shlex.split(said) == ["API=http://localhost:8000", "ORDER_ID=x'; rm -rf / #"]


def test_the_collection_has_the_form_that_postman_reads() -> None:
    whole = collection(ALL, {"API": "http://localhost:8000", "TOKEN": "a.b.c"})
    assert whole["info"]["schema"] == SCHEMA
    assert whole["info"]["name"] == "Kassa"
    variables = {each["key"]: each["value"] for each in whole["variable"]}
    assert variables["api"] == "http://localhost:8000"
    assert variables["token"] == "a.b.c"
    folders = {folder["name"]: folder["item"] for folder in whole["item"]}
    assert list(folders) == list(CONTRACTS)
    calls = [call for tags in folders.values() for tag in tags for call in tag["item"]]
    assert len(calls) == sum(map(len, ALL.values()))
    for call in calls:
        _check_call(call, set(variables))


def _check_call(call: dict[str, Any], variables: set[str]) -> None:
    request = call["request"]
    assert request["method"] in {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert request["url"]["raw"].startswith("{{api}}/")
    assert request["url"]["raw"].split("?")[0] == "{{api}}/" + "/".join(request["url"]["path"])
    named = {part[1:] for part in request["url"]["path"] if part.startswith(":")}
    assert named == {each["key"] for each in request["url"].get("variable", [])}
    assert set(re.findall(r"\{\{(\w+)\}\}", json.dumps(request))) <= variables
    if "body" in request:
        json.loads(request["body"]["raw"])
        assert request["body"]["mode"] == "raw"


def test_the_protos_are_read_whole() -> None:
    payments, ambassadors = _protos()
    assert payments.package == "payments.v1"
    assert payments.about.startswith("Payments for other services")
    blocks = {block.name: block for block in payments.blocks}
    assert [member.name for member in blocks["PaymentService"].members] == ["RequestPayment", "GetPayment", "Health"]
    ask = blocks["PaymentService"].members[0]
    assert ask.kind == "RequestPaymentRequest → RequestPaymentResponse"
    assert ask.about.split("\n\n")[0] == "Creates a payment, or returns the answer that the same key has already got."
    assert "ALREADY_EXISTS" in ask.about
    first = blocks["RequestPaymentRequest"].members[0]
    assert (first.name, first.kind, first.number) == ("amount_minor", "int64", 1)
    assert first.about == "in minor units of the currency: 1250 is 12.50 USD, and 1250 JPY"
    assert [member.kind for member in blocks["RequestPaymentRequest"].members][-1] == "map<string, string>"
    assert [member.number for member in blocks["PaymentStatus"].members] == [0, 1, 2, 3]
    assert blocks["HealthRequest"].members == []
    assert {block.name for block in ambassadors.blocks} >= {"AmbassadorValidation", "ValidateRequest"}


@pytest.mark.parametrize("name", ["payments", "ambassador"])
def test_nothing_of_a_proto_is_left_out(name: str) -> None:
    text = (ROOT / "proto" / f"{name}.proto").read_text()
    found = read_proto(text)
    assert sum(len(block.members) for block in found.blocks) == len(re.findall(r"= \d+;|rpc ", text))
    assert len(found.blocks) == len(re.findall(r"^(?:message|enum|service) ", text, re.MULTILINE))

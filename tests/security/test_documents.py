"""The document of everything says of each operation what the document of its contract says: what is tried by one is tried by both."""

from __future__ import annotations

from typing import Any

import pytest

from .documents import Json, documents, of_document


def whole(value: Any, schemas: Json, seen: tuple[str, ...] = ()) -> Any:
    """A piece of a document with its references followed; one that leads back to itself stays."""
    if isinstance(value, list):
        return [whole(each, schemas, seen) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value and value["$ref"] not in seen:
        name = value["$ref"].rpartition("/")[2]
        return whole(schemas[name], schemas, (*seen, value["$ref"]))
    return {name: whole(each, schemas, seen) for name, each in value.items()}


@pytest.mark.parametrize("name", [name for name in documents() if name != "all"])
def test_all_says_the_same_as_the_contract(name: str) -> None:
    in_all = {str(each): each for each in of_document("all")}
    for operation in of_document(name):
        other = in_all[str(operation)]
        assert whole(other.spec, other.schemas) == whole(operation.spec, operation.schemas), operation


@pytest.mark.parametrize("name", documents())
def test_whoever_may_be_sent_too_much_says_so(name: str) -> None:
    """A body over 64 KiB is refused wherever one is read, so each operation that reads one names that answer."""
    silent = [
        str(each)
        for each in of_document(name)
        if each.content and "413" not in each.spec["responses"] and "basic" not in each.schemes
    ]
    assert silent == []


@pytest.mark.parametrize("name", documents())
def test_whoever_takes_a_key_says_how_it_is_refused(name: str) -> None:
    """A key may be malformed, in use, or used for something else."""
    silent = {
        str(each): {"400", "409", "422"} - set(each.spec["responses"])
        for each in of_document(name)
        if each.takes_key and not {"400", "409", "422"} <= set(each.spec["responses"])
    }
    assert silent == {}

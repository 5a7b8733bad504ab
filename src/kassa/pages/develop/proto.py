"""What a `.proto` file says, for a page: its services, messages and enums with the comments that stand beside them. Pure.

It reads files as we write them: one thing a line, comments above it or behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BLOCK = re.compile(r"(service|message|enum) (\w+) \{(\})?")
_RPC = re.compile(r"rpc (\w+)\((\w+)\) returns \((\w+)\);")
_FIELD = re.compile(r"((?:repeated )?[\w.]+(?:<[^>]+>)?) (\w+) = (\d+);")
_VALUE = re.compile(r"(\w+) = (\d+);")


@dataclass(frozen=True, slots=True)
class Member:
    """A field, a value of an enum, or a call: `kind` is its type, for a call what it takes and gives."""

    name: str
    kind: str
    number: int | None
    about: str


@dataclass(slots=True)
class Block:
    """A service, a message or an enum."""

    kind: str
    name: str
    about: str
    members: list[Member] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Proto:
    """A file: its package, what it says of itself, and its blocks in their order."""

    package: str
    about: str
    blocks: tuple[Block, ...]


def read_proto(text: str) -> Proto:
    """Read a file of ours. What it does not understand it leaves out."""
    package, about, said, blocks = "", "", list[str](), list[Block]()
    inside: Block | None = None
    for raw in text.splitlines():
        line, _, behind = (part.strip() for part in raw.partition("//"))
        if not line:
            said = [*said, behind] if behind or raw.strip() == "//" else []
            continue
        above, said = _told(said), []
        if line.startswith("syntax"):
            about = above
        elif line.startswith("package"):
            package = line.removeprefix("package").strip(" ;")
        elif begun := _BLOCK.match(line):
            inside = Block(begun[1], begun[2], above)
            blocks.append(inside)
        elif inside is not None and (member := _member(line, behind or above)):
            inside.members.append(member)
    return Proto(package, about, tuple(blocks))


def _member(line: str, about: str) -> Member | None:
    if call := _RPC.match(line):
        return Member(call[1], f"{call[2]} → {call[3]}", None, about)
    if found := _FIELD.match(line):
        return Member(found[2], found[1], int(found[3]), about)
    if value := _VALUE.match(line):
        return Member(value[1], "", int(value[2]), about)
    return None


def _told(lines: list[str]) -> str:
    """Comment lines as text: an empty one ends a paragraph."""
    return "\n\n".join(part.replace("\n", " ").strip() for part in "\n".join(lines).split("\n\n") if part.strip())

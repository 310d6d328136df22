"""Which names stand where in a JSON text: for refusals, which tell where something is wrong, not its name.

One scan, without recursion. Of a text that is no JSON it finds the names up to where it no longer looks like
one.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
# Passes over everything but names and braces. Matched from place to place: a search would go on behind a
# place where nothing matches, once for each byte.
_NEXT = re.compile(
    rb'(?:[^"{}]++|%s(?!\s*+:))*+(?:(%s)\s*+:|([{}]))' % (_STRING, _STRING),
    re.DOTALL,
)


class Member(NamedTuple):
    """One name and where it stands."""

    name: str
    start: int  # its first byte
    depth: int  # 1: of the record itself
    owner: int  # the object that it is a member of, by the order in which they begin
    field: str  # the name of depth 1 that this one stands under, or is


def members_of(value: bytes) -> Iterator[Member]:
    """All names, in their order."""
    owners: list[int] = []  # the objects that are open
    objects, field, position = 0, "", 0
    while match := _NEXT.match(value, position):
        position = match.end()
        if match[2] == b"{":
            owners.append(objects)
            objects += 1
        elif match[2]:
            owners = owners[:-1]
        elif owners:
            name = _text(match[1])
            field = name if len(owners) == 1 else field
            yield Member(name, match.start(1), len(owners), owners[-1], field)


def twice_named(members: Iterable[Member], opaque: str) -> Member | None:
    """The first name that its object has already, but for what stands under the field `opaque`."""
    seen: set[tuple[int, str]] = set()
    for member in members:
        if member.depth > 1 and member.field == opaque:
            continue
        if (key := (member.owner, member.name)) in seen:
            return member
        seen.add(key)
    return None


def _text(string: bytes) -> str:
    if b"\\" not in string:
        return string[1:-1].decode("utf-8", "replace")
    try:
        return msgspec.json.decode(string, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):  # it is no name that anybody knows
        return string.decode("latin-1")

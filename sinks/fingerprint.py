"""The name of the projection that this release keeps: a fingerprint of all that it depends on.

It is part of each key. Releases of one name read and write each other's keys; one of another name keeps its
own beside them, folded from the same ledger, and neither touches the other's. So a release that remembers ids
for longer, or in other buckets, finds no state that was made by another rule.

What can be counted is derived here. What the fold does with it cannot: tests/unit/test_fingerprint.py folds a
small ledger, compares each byte that goes to Redis, and refuses a change under the same name.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import get_type_hints

from msgspec import Struct

from schemas.fields import types_in
from schemas.limits import LATE_WINDOW_DAYS, REMEMBERED_DAYS
from schemas.rules import CAPS_KEPT_DAYS
from schemas.state import Head, Person
from sinks.redis_keys import BUCKETS, Keys

FOLD = 2  # to be counted up where the same blocks come to another state, and nothing below tells it


def fingerprint(*parts: object) -> str:
    """Six hex digits: each person's key carries them."""
    return blake2b(repr(parts).encode(), digest_size=3).hexdigest()


def _structs(kind: type[Struct]) -> Iterator[type[Struct]]:
    """A struct of the state, and those that its fields are made of."""
    yield kind
    for hint in get_type_hints(kind).values():
        for part in types_in(hint):
            if isinstance(part, type) and issubclass(part, Struct):
                yield from _structs(part)


_KEYS = Keys(0, "")
FINGERPRINT = fingerprint(
    FOLD,
    LATE_WINDOW_DAYS,
    REMEMBERED_DAYS,
    CAPS_KEPT_DAYS,
    BUCKETS,
    (_KEYS.head, _KEYS.person_prefix, _KEYS.generation(0, 0)),
    [(kind.__name__, kind.__struct_fields__) for state in (Head, Person) for kind in _structs(state)],
)

"""What is known of a field of an app's record: declared once, beside its type, in the record's struct.

Derived from it: how a text is checked, alone and many at a time; the sentence that refuses it; whether it is
searched for personal data; what the ledger keeps of it; how many quotes it has in JSON; the JSON Schema. A
struct with a field of which nothing is declared is refused as it is loaded.
"""

from enum import Enum, auto
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta, Struct


class Keep(Enum):
    """What the ledger keeps of a field."""

    NOTHING = auto()  # it is the same in each record of its kind
    COLUMN = auto()  # a column of its own
    INPUTS = auto()  # in column `inputs`, an instant as its milliseconds
    HASH = auto()  # its SHA-256, in column `inputs`


class Field(NamedTuple):
    """`rule`: what it must be, in one sentence, which is told whichever way it fails. `pattern`: of a text
    that is checked by us; msgspec's own check costs 0.3 us a field, two thirds of a whole decode."""

    rule: str
    keep: Keep
    pattern: str = ""
    searched: bool = False  # for personal data; what has none of it need not be, such as hexadecimal digits
    is_text: bool = False  # in JSON; a pattern is one of a text

    @property
    def quotes(self) -> int:
        """Quotes of its name, and of its value if that is a text."""
        return 4 if self.pattern or self.is_text else 2


def text(
    description: str,
    pattern: str,
    keep: Keep,
    *,
    length_max: int = 64,
    searched: bool = True,
    rule: str = "",
) -> tuple[Meta, Field]:
    """A text's declaration, for `Annotated[str, *text(...)]`. No quote, blank or backslash fits a pattern."""
    meta = Meta(
        min_length=1,
        max_length=length_max,
        description=description,
        extra_json_schema={"pattern": f"^{pattern}$"},
    )
    return meta, Field(f"must match {pattern}{rule}", keep, pattern, searched)


def declared(record: type[Struct]) -> dict[str, Field]:
    """The fields of a record, in their order. Raises TypeError where nothing, or too little, is declared."""
    hints = get_type_hints(record, include_extras=True)
    found: dict[str, Field] = {}
    for name in record.__struct_fields__:
        fields = [each for each in _annotations(hints[name]) if isinstance(each, Field)]
        if len(fields) != 1:
            raise TypeError(f"{record.__name__}.{name}: exactly one Field must be declared")
        found[name] = fields[0]
        if str in types_in(hints[name]) and not found[name].pattern:
            raise TypeError(f"{record.__name__}.{name}: a text needs a pattern")
    return found


def required(record: type[Struct]) -> tuple[str, ...]:
    """The fields that every record of this kind has."""
    return tuple(field.name for field in msgspec.structs.fields(record) if field.required)


def _annotations(hint: Any) -> list[Any]:
    """What annotates a type, or any part of a union."""
    own = list(getattr(hint, "__metadata__", ()))
    return own + [each for part in getattr(hint, "__args__", ()) for each in _annotations(part)]


def types_in(hint: Any) -> list[Any]:
    """The types that a hint is made of, without what annotates them."""
    if hasattr(hint, "__metadata__"):
        return types_in(hint.__origin__)
    parts = getattr(hint, "__args__", ())
    return [each for part in parts for each in types_in(part)] if parts else [hint]

"""What must be declared of each field of a record, and what a struct without it is told as it is loaded."""

from typing import Annotated

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from schemas.fields import Field, Keep, declared, text

TEXT = text("a name", "[a-z]{1,8}", Keep.COLUMN)
NUMBER = Field("must be a number", Keep.INPUTS)


def test_a_field_is_what_is_declared_of_it_be_it_required_or_not() -> None:
    class Record(Struct):
        name: Annotated[str, *TEXT]
        number: Annotated[int, Meta(ge=1), NUMBER]
        nickname: Annotated[str, *TEXT] | UnsetType = UNSET

    assert declared(Record) == {"name": TEXT[1], "number": NUMBER, "nickname": TEXT[1]}


@pytest.mark.parametrize("hint", [int, Annotated[int, Meta(ge=1)], Annotated[int, NUMBER, NUMBER]])
def test_a_field_of_which_nothing_or_two_things_are_declared_is_refused(hint: object) -> None:
    with pytest.raises(TypeError, match=r"Record\.a: exactly one Field must be declared"):
        declared(defstruct("Record", [("a", hint)]))


@pytest.mark.parametrize("hint", [str, str | UnsetType, dict[str, int]])
def test_a_text_without_a_pattern_is_refused(hint: object) -> None:
    with pytest.raises(TypeError, match=r"Record\.a: a text needs a pattern"):
        declared(defstruct("Record", [("a", Annotated[hint, NUMBER])]))

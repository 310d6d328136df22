"""What every command of the platform says, whatever its kind."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

_Label = Annotated[str, Meta(max_length=200)]
# Kafka's own form of a topic's id: 16 bytes in base64url.
TopicId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}\Z")]
IntakeTopic = Annotated[str, Meta(pattern=r"^intake\.[a-z][a-z0-9-]{0,30}\Z")]
_Version = Annotated[int, Meta(ge=1, le=1)]


class Said(Struct, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """Who gave a command, who approved it and why: labels, nobody here can check them; they have columns.

    `unkept`: fields that its row does not keep; `since`: the format that brought the kind, before which it is
    no command.
    """

    unkept: ClassVar[tuple[str, ...]] = ()
    since: ClassVar[int] = 1
    version: _Version = 1
    by: _Label = ""
    approved_by: _Label = ""
    reason: _Label = ""

"""What the platform itself says, in topic `commands`: one record per shard, in force from its own row on."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.report import Instant


class ClockCommand(Struct, forbid_unknown_fields=True):
    """Sets the shard's time to `at` at this row; it runs on from there. Only where genesis allows it."""

    version: Annotated[int, Meta(ge=1, le=1)]
    kind: Literal["clock"]
    at: Instant


_decoder = msgspec.json.Decoder(ClockCommand)


def read_command(value: bytes) -> ClockCommand | None:
    """The command, or None if the record is none."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

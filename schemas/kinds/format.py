"""Kind `format`: in which format a shard's blocks are written from here on."""

from typing import Annotated

from msgspec import Meta

from schemas.kinds.said import Said
from schemas.limits import FORMAT_MAX


class FormatCommand(Said, tag="format"):
    """Activates format `number` (schemas/formats.py), and the kinds of record that came with it.

    `release`: the first one that can write it. An older one that meets the command decides nothing more.
    There is no way back: what is written so cannot be read by a release from before.
    """

    number: Annotated[int, Meta(ge=1, le=FORMAT_MAX)]
    release: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.-]{1,32}\Z")]

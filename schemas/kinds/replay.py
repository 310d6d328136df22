"""Kind `replay`: a refused record is decided once more."""

from typing import Annotated

from msgspec import Meta

from schemas.kinds.said import IntakeTopic, Said, TopicId
from schemas.limits import OFFSET_MAX, RECORD_BYTES_MAX


class ReplayCommand(Said, tag="replay"):
    """Decides a record of an app that was refused once more, from its bytes, at this row: with all rules.

    `topic`, `topic_id`, `partition` and `offset` say where the record stands, `hash` is the keyed hash of its
    bytes (`schemas.verdicts` tells which refusals keep one). It is said to the person's shard, which cannot
    see whether there ever was such a record: whoever says it has read it there.
    """

    unkept = ("value",)
    topic: IntakeTopic
    topic_id: TopicId
    partition: Annotated[int, Meta(ge=0, le=65_535)]
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
    value: Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]

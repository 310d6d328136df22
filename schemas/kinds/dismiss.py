"""Kind `dismiss`: refused records with which nothing more is to be done."""

from typing import Annotated

from msgspec import Meta

from schemas.kinds.said import IntakeTopic, Said, TopicId
from schemas.limits import OFFSET_MAX


class DismissCommand(Said, tag="dismiss"):
    """Nothing more is to be done about refused records at these offsets; changes nothing else."""

    topic: IntakeTopic
    topic_id: TopicId
    partition: Annotated[int, Meta(ge=0, le=65_535)]
    first: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
    last: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]

"""Kind `adopt`: a source goes on elsewhere, and what was before is lost."""

from typing import Annotated

from msgspec import Meta

from schemas.kinds.said import Said, TopicId
from schemas.limits import OFFSET_MAX


class AdoptCommand(Said, tag="adopt"):
    """Reads topic `topic` with id `topic_id` from offset `first` on, in this shard; what was before is lost.

    Never below the position under the same id. For `commands` itself it is the first record that is read
    there.
    """

    topic: Annotated[str, Meta(pattern=r"^(commands|intake\.[a-z][a-z0-9-]{0,30})\Z")]
    topic_id: TopicId
    first: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]

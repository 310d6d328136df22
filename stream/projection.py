"""Redis as an operator's command reads it: what does not answer is told with what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sinks.ports import Doubt
from sinks.redis_store import RedisStore, connect
from stream.errors import OperatorError
from stream.settings import Settings


@asynccontextmanager
async def open_projection(settings: Settings) -> AsyncIterator[RedisStore]:
    """The projection, closed again at the end. Raises OperatorError if it cannot be read now."""
    store = RedisStore(connect(settings.redis_url))
    try:
        yield store
    except Doubt as doubt:
        raise OperatorError(
            f"{doubt}.", "see `points status`; `points up` starts what does not run."
        ) from doubt
    finally:
        await store.close()

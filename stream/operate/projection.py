"""Redis as an operator's command reads it: what does not answer is told with what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sinks.ports import Doubt
from sinks.redis_connection import connect
from sinks.redis_errors import LOGIN_ADVICE, Forbidden, WrongLogin
from sinks.redis_store import RedisStore
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
    except WrongLogin as refusal:
        raise OperatorError(
            f"Redis does not let this command in; it said: {refusal}.", f"{LOGIN_ADVICE}."
        ) from refusal
    except Forbidden as refusal:
        raise OperatorError(
            f"Redis does not let its user read: {refusal}.", "see docs/runbook.md, rights in Redis."
        ) from refusal
    finally:
        await store.close()

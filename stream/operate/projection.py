"""Redis as an operator's command reads it: what does not answer is told with what to do."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

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
        with answered():
            yield store
    finally:
        await store.close()


@contextmanager
def answered() -> Iterator[None]:
    """What Redis leaves without an answer, or forbids, becomes an OperatorError."""
    try:
        yield
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
            f"Redis does not let its user do this: {refusal}.", "see docs/runbook.md, rights in Redis."
        ) from refusal

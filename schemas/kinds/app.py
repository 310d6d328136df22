"""Kind `app`: registers an app operator's software, and says what it may report."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.kinds.said import Said
from schemas.limits import ROWS_PER_DAY

_MethodologyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,32}\Z")]
_Text = Annotated[str, Meta(min_length=1, max_length=200)]


class App(Struct, frozen=True, forbid_unknown_fields=True):
    """A registered app (应用程序运营主体, 管理办法 Art. 6): who operates it, and what it may report.

    `id` names its topics and its Kafka user. `topic_id` is Kafka's id of its intake topic, settled by the
    first command about the app: what stands in a topic made again is read only after `points topics adopt`.
    `rows_per_day`: of all shards together; beyond it the app's records wait for the next day. An app that is
    not `active` keeps its rights on the broker, so that nothing it sends is lost unseen; its reports get the
    verdict app_not_active.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
    operator: _Text
    methodologies: Annotated[list[_MethodologyId], Meta(max_length=100)]
    scenes: Annotated[list[_Text], Meta(max_length=1_000)] = []
    active: bool = True
    rows_per_day: Annotated[int, Meta(ge=1, le=10**12)] = ROWS_PER_DAY
    topic_id: Annotated[str, Meta(pattern=r"^([A-Za-z0-9_-]{22})?\Z")] = ""


class AppCommand(Said, tag="app"):
    """Registers an app as it is from this row on; the last command about an app stands."""

    app: App


def checked(app: App) -> App:
    """The app, if it may be registered so. Raises ValueError that names the field and the rule."""
    try:
        return msgspec.convert(msgspec.to_builtins(app), App)
    except msgspec.ValidationError as error:
        rule, _, path = str(error).partition(" - at `$.")
        raise ValueError(f"{path.rstrip('`')}: {rule}") from error

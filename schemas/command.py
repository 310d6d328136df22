"""What the platform itself says, in topic `commands`: one record per shard, in force from its own row on."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.report import Instant

_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,32}\Z")]
_Text = Annotated[str, Meta(min_length=1, max_length=200)]
_Version = Annotated[int, Meta(ge=1, le=1)]


class App(Struct, frozen=True, forbid_unknown_fields=True):
    """A registered app (应用程序运营主体, 管理办法 Art. 6): who operates it, and what it may report.

    `id` names its topics and its Kafka user. An app that is not `active` keeps its rights on the broker, so
    that nothing it sends is lost unseen; its reports get the verdict app_not_active.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
    operator: _Text
    methodologies: Annotated[list[_Id], Meta(max_length=100)]
    scenes: Annotated[list[_Text], Meta(max_length=1_000)] = []
    active: bool = True


class ClockCommand(Struct, forbid_unknown_fields=True, tag_field="kind", tag="clock"):
    """Sets the shard's time to `at` at this row; it runs on from there. Only where genesis allows it."""

    version: _Version
    at: Instant


class AppCommand(Struct, forbid_unknown_fields=True, tag_field="kind", tag="app"):
    """Registers an app as it is from this row on; the last command about an app stands."""

    version: _Version
    app: App


Command = ClockCommand | AppCommand
_decoder = msgspec.json.Decoder(Command)
encode_command = msgspec.json.Encoder().encode
encode_app = msgspec.json.Encoder().encode
decode_app = msgspec.json.Decoder(App).decode


def read_command(value: bytes) -> Command | None:
    """The command, or None if the record is none."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def checked(app: App) -> App:
    """The app, if it may be registered so. Raises ValueError that names the field and the rule."""
    try:
        return decode_app(encode_app(app))
    except msgspec.ValidationError as error:
        rule, _, path = str(error).partition(" - at `$.")
        raise ValueError(f"{path.rstrip('`')}: {rule}") from error

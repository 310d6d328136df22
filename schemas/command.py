"""What the platform itself says, in topic `commands`: one record per shard, in force from its own row on."""

from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.kinds import Kind
from schemas.limits import OFFSET_MAX, RECORD_BYTES_MAX, ROWS_PER_DAY
from schemas.report import Instant

_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,32}\Z")]
_Text = Annotated[str, Meta(min_length=1, max_length=200)]
_Label = Annotated[str, Meta(max_length=200)]
# Kafka's own form of a topic's id: 16 bytes in base64url.
TopicId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}\Z")]
IntakeTopic = Annotated[str, Meta(pattern=r"^intake\.[a-z][a-z0-9-]{0,30}\Z")]
_Version = Annotated[int, Meta(ge=1, le=1)]


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
    methodologies: Annotated[list[_Id], Meta(max_length=100)]
    scenes: Annotated[list[_Text], Meta(max_length=1_000)] = []
    active: bool = True
    rows_per_day: Annotated[int, Meta(ge=1, le=10**12)] = ROWS_PER_DAY
    topic_id: Annotated[str, Meta(pattern=r"^([A-Za-z0-9_-]{22})?\Z")] = ""


class Said(Struct, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every command says: who gave it, who approved it and why. Labels: nobody here can check them."""

    version: _Version = 1
    by: _Label = ""
    approved_by: _Label = ""
    reason: _Label = ""


class ClockCommand(Said, tag="clock"):
    """Sets the shard's time to `at` at this row; it runs on from there. Only where genesis allows it."""

    row_kind: ClassVar[Kind] = Kind.CLOCK
    at: Instant


class AppCommand(Said, tag="app"):
    """Registers an app as it is from this row on; the last command about an app stands."""

    row_kind: ClassVar[Kind] = Kind.APP
    app: App


class AdoptCommand(Said, tag="adopt"):
    """Reads topic `topic` with id `topic_id` from offset `first` on, in this shard; what was before is lost.

    Never below the position under the same id. For `commands` itself it is the first record that is read
    there.
    """

    row_kind: ClassVar[Kind] = Kind.ADOPT
    topic: Annotated[str, Meta(pattern=r"^(commands|intake\.[a-z][a-z0-9-]{0,30})\Z")]
    topic_id: TopicId
    first: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]


class ReplayCommand(Said, tag="replay"):
    """Decides a record of an app that was refused once more, from its bytes, at this row: with all rules.

    `topic`, `topic_id`, `partition` and `offset` say where the record stands, `hash` is the keyed hash of its
    bytes (`schemas.verdicts` tells which refusals keep one). It is said to the person's shard, which cannot
    see whether there ever was such a record: whoever says it has read it there.
    """

    row_kind: ClassVar[Kind] = Kind.REPLAY
    topic: IntakeTopic
    topic_id: TopicId
    partition: Annotated[int, Meta(ge=0, le=65_535)]
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
    value: Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class DismissCommand(Said, tag="dismiss"):
    """Nothing more is to be done about refused records at these offsets; changes nothing else."""

    row_kind: ClassVar[Kind] = Kind.DISMISS
    topic: IntakeTopic
    topic_id: TopicId
    partition: Annotated[int, Meta(ge=0, le=65_535)]
    first: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
    last: Annotated[int, Meta(ge=0, le=OFFSET_MAX)]


Command = ClockCommand | AppCommand | AdoptCommand | ReplayCommand | DismissCommand
_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
encode_command = msgspec.json.Encoder().encode
_Command = TypeVar("_Command", bound=Said)
encode_app = msgspec.json.Encoder().encode
decode_app = msgspec.json.Decoder(App).decode


def command_inputs(command: Command) -> str:
    """What a command's row keeps of it, as JSON: all but the labels, which have columns of their own, and
    but the bytes of a record."""
    said = msgspec.to_builtins(command)
    for name in ("version", "kind", "by", "approved_by", "reason", "value"):
        said.pop(name, None)
    return msgspec.json.encode(said).decode()


def decode_inputs(inputs: str, kind: type[_Command]) -> _Command:
    """What `command_inputs` kept, as the command that it was; its labels are empty."""
    return msgspec.convert(msgspec.json.decode(inputs), kind)


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

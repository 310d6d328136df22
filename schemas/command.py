"""What the platform itself says, in topic `commands`: one record per shard, in force from its own row on."""

from typing import TypeVar

import msgspec

from schemas.kinds import Command
from schemas.kinds.said import Said

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
encode_command = msgspec.json.Encoder().encode
_Command = TypeVar("_Command", bound=Said)


def command_inputs(command: Said) -> str:
    """What a command's row keeps of it, as JSON: what has no column of its own, but for `unkept`."""
    said = msgspec.to_builtins(command)
    for name in ("kind", *Said.__struct_fields__, *command.unkept):
        said.pop(name, None)
    return msgspec.json.encode(said).decode()


def decode_inputs(inputs: str, kind: type[_Command]) -> _Command:
    """What `command_inputs` kept, as the command that it was; its labels are empty."""
    return msgspec.convert(msgspec.json.decode(inputs), kind)


def read_command(value: bytes, in_force: int) -> Command | None:
    """The command, or None if the record is none, or not yet one: `in_force` is the format in force."""
    try:
        command = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return command if command.since <= in_force else None

"""What is sent to Redis, of the keys in sinks/redis_keys.py."""

from collections import defaultdict
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from schemas.state import Change, encode_person
from sinks.redis_keys import BUCKETS, Keys, bucket_of

_VALUES_MAX = 10_000  # of one command; the server takes 1,048,576
_encode_head = _encode_apps = msgspec.msgpack.Encoder().encode

Command = tuple[bytes | str | int, ...]


def read_head(keys: Keys) -> Command:
    """What a read compares: the head's hash, and whether somebody rebuilds the shard."""
    return ("HMGET", keys.head, "hash", "torn")


# First in whatever is read: a connection whose watched key was touched refuses its next EXEC, which is the
# read's own, as a read is followed by another one and not by a commit wherever a shard is idle or in doubt.
UNWATCH: Command = ("UNWATCH",)


def watch_head(keys: Keys) -> list[Command]:
    """From the WATCH on an EXEC does nothing if the head is touched; what it was is read behind it."""
    return [("WATCH", keys.head), read_head(keys)]


def read_state(
    keys: Keys, uids: list[str], lookups: dict[int, list[int]]
) -> tuple[list[Command], list[list[int]]]:
    """The commands that read head, persons (if there are uids) and members; and what each of the SMISMEMBER
    at their end asks for."""
    commands, asked = [read_head(keys)], []
    if uids:
        prefix = keys.person_prefix
        commands.append(("MGET", *[prefix + uid for uid in uids]))
    for day, members in lookups.items():
        for bucket, mine in _bucketed(members):
            commands.append(("SMISMEMBER", keys.generation(day, bucket), *mine))
            asked.append(mine)
    return commands, asked


def write_change(keys: Keys, change: Change) -> list[Command]:
    """The commands of one commit. The head goes first and comes last: if a command between fails, which Redis
    does not roll back, and if the last one does, there is no head rather than a wrong one.

    The registry has a field of its own, which stays: cycles are many, and of a hundred apps it is 15 KiB.
    """
    head = change.head
    commands: list[Command] = [("HDEL", keys.head, "hash", "head")]
    prefix = keys.person_prefix
    pairs = [part for uid, person in change.persons.items() for part in (prefix + uid, encode_person(person))]
    commands += [("MSET", *piece) for piece in _pieces(pairs)]
    dropped = [keys.generation(day, bucket) for day in change.retired_days for bucket in range(BUCKETS)]
    commands += [("UNLINK", *piece) for piece in _pieces(dropped)]
    for day, members in change.members.items():
        for bucket, mine in _bucketed(members):
            key = keys.generation(day, bucket)
            commands += [("SADD", key, *piece) for piece in _pieces(mine)]
    fields: list[bytes | str | int] = [
        "hash",
        head.hash,
        "torn",
        "",
        "head",
        _encode_head(replace(head, apps={})),
    ]
    if change.registry:
        fields += ["apps", _encode_apps(head.apps)]
    commands.append(("HSET", keys.head, *fields))
    return commands


def in_transaction(commands: list[Command]) -> list[Command]:
    return [("MULTI",), *commands, ("EXEC",)]


def tear(keys: Keys, token: str) -> Command:
    """Marks a shard as one to be rebuilt: `load_head` finds none, reads and commits are in doubt."""
    return ("HSET", keys.head, "torn", token)


def find_keys(keys: Keys, cursor: int, count: int) -> Command:
    """One page of the shard's keys but for its head's."""
    return ("SCAN", cursor, "MATCH", keys.all_but_head, "COUNT", count)


def _bucketed(members: list[int]) -> Iterator[tuple[int, list[int]]]:
    buckets: dict[int, list[int]] = defaultdict(list)
    for member in members:
        buckets[bucket_of(member)].append(member)
    return iter(buckets.items())


def _pieces(values: list) -> Iterator[list]:
    return (values[at : at + _VALUES_MAX] for at in range(0, len(values), _VALUES_MAX))

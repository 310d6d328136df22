"""What is sent to Redis. Keys of shard p carry the tag {p}, so that a shard is one slot of a cluster:

h:{p}               hash: hash, torn, and the head's other fields as one MessagePack value
p:{p}:<uid>         MessagePack of schemas.state.Person
d:{p}:<day>:<b>     set of 64-bit dedupe members of generation <day>, bucket b (an intset: 8 bytes each)
"""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from schemas.state import Change, encode_person

# 16.4 million reports a day over 64 shards leave 512,000 members in a generation of a shard: 2,000 in a
# bucket. Above 8,192 (set-max-intset-entries) Redis gives up the compact form: measured at 600,000 members
# in 64 buckets, 531 MB instead of 221, and 1.7 times the CPU. 256 buckets reach that at 2.1 million.
BUCKETS = 256
_VALUES_MAX = 10_000  # of one command; the server takes 1,048,576
_encode_head = msgspec.msgpack.Encoder().encode

Command = tuple[bytes | str | int, ...]


def head_key(shard: int) -> str:
    return f"h:{{{shard}}}"


def person_prefix(shard: int) -> str:
    return f"p:{{{shard}}}:"


def read_head(shard: int) -> Command:
    """What a read compares: the head's hash, and whether somebody rebuilds the shard."""
    return ("HMGET", head_key(shard), "hash", "torn")


# First in whatever is read: a connection whose watched key was touched refuses its next EXEC, which is the
# read's own, as a read is followed by another one and not by a commit wherever a shard is idle or in doubt.
UNWATCH: Command = ("UNWATCH",)


def watch_head(shard: int) -> list[Command]:
    """From the WATCH on an EXEC does nothing if the head is touched; what it was is read behind it."""
    return [("WATCH", head_key(shard)), read_head(shard)]


def read_state(
    shard: int, uids: list[str], lookups: dict[int, list[int]]
) -> tuple[list[Command], list[list[int]]]:
    """The commands that read head, persons (if there are uids) and members; and what each of the SMISMEMBER
    at their end asks for."""
    commands, asked = [read_head(shard)], []
    if uids:
        prefix = person_prefix(shard)
        commands.append(("MGET", *[prefix + uid for uid in uids]))
    for day, members in lookups.items():
        for bucket, mine in _bucketed(members):
            commands.append(("SMISMEMBER", _dedupe_key(shard, day, bucket), *mine))
            asked.append(mine)
    return commands, asked


def write_change(change: Change) -> list[Command]:
    """The commands of one commit. The head goes first and comes last: if a command between fails, which Redis
    does not roll back, and if the last one does, there is no head rather than a wrong one."""
    shard, head = change.shard, change.head
    commands: list[Command] = [("UNLINK", head_key(shard))]
    prefix = person_prefix(shard)
    pairs = [part for uid, person in change.persons.items() for part in (prefix + uid, encode_person(person))]
    commands += [("MSET", *piece) for piece in _pieces(pairs)]
    dropped = [_dedupe_key(shard, day, bucket) for day in change.retired_days for bucket in range(BUCKETS)]
    commands += [("UNLINK", *piece) for piece in _pieces(dropped)]
    for day, members in change.members.items():
        for bucket, mine in _bucketed(members):
            key = _dedupe_key(shard, day, bucket)
            commands += [("SADD", key, *piece) for piece in _pieces(mine)]
    commands.append(("HSET", head_key(shard), "hash", head.hash, "torn", "", "head", _encode_head(head)))
    return commands


def in_transaction(commands: list[Command]) -> list[Command]:
    return [("MULTI",), *commands, ("EXEC",)]


def tear(shard: int, token: str) -> Command:
    """Marks a shard as one to be rebuilt: `load_head` finds none, reads and commits are in doubt."""
    return ("HSET", head_key(shard), "torn", token)


def find_keys(shard: int, cursor: int, count: int) -> Command:
    """One page of the shard's keys but for its head's."""
    return ("SCAN", cursor, "MATCH", f"[pd]:{{{shard}}}:*", "COUNT", count)


def _dedupe_key(shard: int, day: int, bucket: int) -> str:
    return f"d:{{{shard}}}:{day}:{bucket}"


def _bucketed(members: list[int]) -> Iterator[tuple[int, list[int]]]:
    buckets: dict[int, list[int]] = defaultdict(list)
    for member in members:
        buckets[member & (BUCKETS - 1)].append(member)
    return iter(buckets.items())


def _pieces(values: list) -> Iterator[list]:
    return (values[at : at + _VALUES_MAX] for at in range(0, len(values), _VALUES_MAX))

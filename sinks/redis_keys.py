"""The keys of one shard in Redis. They carry the tag {p} of shard p, so that a shard is one slot of a
cluster, and the name f of the projection that they belong to (sinks/fingerprint.py):

h:{p}:f               hash: hash, torn; as MessagePack apps, and head: its other fields as one value
p:{p}:f:<uid>         MessagePack of schemas.state.Person
d:{p}:f:<day>:<b>     set of 64-bit dedupe members of generation <day>, bucket b (an intset: 8 bytes each)
"""

import re
from typing import NamedTuple

# 16.4 million reports a day over 64 shards leave 512,000 members in a generation of a shard: 2,000 in a
# bucket. Above 8,192 (set-max-intset-entries) Redis gives up the compact form: measured at 600,000 members
# in 64 buckets, 531 MB instead of 221, and 1.7 times the CPU. 256 buckets reach that at 2.1 million.
BUCKETS = 256

PROJECTIONS = "[hd]:{*"  # a pattern of keys that tell which projections there are, without those of persons
_OURS = re.compile(rb"[hpd]:\{\d+\}:([0-9a-f]{6})(?::|\Z)")


class Keys(NamedTuple):
    """The keys of one shard in one projection."""

    shard: int
    projection: str

    @property
    def head(self) -> str:
        return f"h:{{{self.shard}}}:{self.projection}"

    @property
    def person_prefix(self) -> str:
        return f"p:{{{self.shard}}}:{self.projection}:"

    def generation(self, day: int, bucket: int) -> str:
        return f"d:{{{self.shard}}}:{self.projection}:{day}:{bucket}"

    @property
    def all_but_head(self) -> str:
        """As a pattern."""
        return f"[pd]:{{{self.shard}}}:{self.projection}:*"


def bucket_of(member: int) -> int:
    """In which bucket of its generation a member stands."""
    return member & (BUCKETS - 1)


def projection_of(key: bytes) -> str:
    """The name of the projection that a key belongs to; '' of one that is none of ours."""
    found = _OURS.match(key)
    return found[1].decode() if found else ""

"""What every decision of a platform stands on."""

from typing import NamedTuple

from schemas.rules import Rules


class Platform(NamedTuple):
    """What holds for the life of a platform, from the genesis block, and the rules in use."""

    name: str
    shards: int
    dedupe_key: bytes
    simulated_clock: bool
    fair_rows_s: int
    rules: Rules

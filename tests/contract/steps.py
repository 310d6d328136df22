"""Commits of a shard, one after the other."""

from schemas.state import ZERO_HASH, Change, Head, Lag, Source
from tests.making import APPS


def change(shard: int, prev: bytes, seq: int, retired: range = range(0), **parts: dict) -> Change:
    sources = {"commands": Source("c" * 22, 0), "intake.metro": Source("m" * 22, 9 * seq, 2**50, 20_000, seq)}
    lags = {"outcomes.metro": Lag(seq, bytes(32))}
    head = Head(seq, bytes([seq]) * 32, 1_000 + seq, -5, seq + 1, seq, lags, sources, APPS)
    return Change(shard, prev, head, parts.get("persons", {}), parts.get("members", {}), retired)


def first(shard: int, **parts: dict) -> Change:
    return change(shard, ZERO_HASH, 1, **parts)


def second(shard: int, **parts: dict) -> Change:
    return change(shard, bytes([1]) * 32, 2, **parts)

"""What INFO of a Redis tells that an operator must know: for workers, and for `points doctor`."""

import re
from collections.abc import Iterator, Mapping

from stream.errors import OperatorError

VERSION_MIN = (6, 2)
# The first release of each line without CVE-2025-21605 (anybody who connects fills the memory, without a
# password) and CVE-2025-49844 (a script takes the server over). Later lines never had them.
MENDED = {
    "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
HOLES = "CVE-2025-21605 or CVE-2025-49844"


def eviction(info: Mapping[str, str]) -> OperatorError | None:
    """What is wrong where Redis evicts keys, or has evicted some since its start; else None."""
    policy, evicted = info["maxmemory_policy"], int(info["evicted_keys"])
    if policy == "noeviction" and not evicted:
        return None
    lost = f"it has evicted {evicted:,} keys" if evicted else "it may evict keys"
    return OperatorError(
        f"Redis has maxmemory-policy {policy}, and {lost}: forgotten reports would be credited again.",
        "set maxmemory-policy noeviction there and in its configuration, empty it (FLUSHALL), and only then "
        "restart it: the workers make it again from the ledger. See docs/runbook.md, Redis evicts.",
    )


def version(info: Mapping[str, str]) -> tuple[str, str]:
    """The server's kind and its own version: Valkey also names the Redis that it is compatible with."""
    if "valkey_version" in info:
        return "valkey", info["valkey_version"]
    return info.get("server_name", "redis"), info["redis_version"]


def faults(info: Mapping[str, str]) -> Iterator[str]:
    """Whatever makes this Redis unfit, one sentence each, for `points doctor`."""
    kind, number = version(info)
    major, minor, patch = map(int, [*re.findall(r"\d+", number), 0, 0, 0][:3])
    if (major, minor) < VERSION_MIN:
        yield f"version {number} is older than 6.2"
    elif patch < MENDED.get(kind, {}).get((major, minor), 0):
        yield f"{kind} {number} has {HOLES}; {major}.{minor}.{MENDED[kind][major, minor]} has not"
    if fault := eviction(info):
        yield f"{fault.message.rstrip('.')} ({fault.todo.rstrip('.')})"
    if info["aof_enabled"] == "0":
        yield "appendonly is off, so every restart rebuilds all balances from the ledger"
    elif info["aof_last_write_status"] != "ok":
        yield "the append-only file cannot be written"
    elif info["aof_last_bgrewrite_status"] != "ok":
        yield "the append-only file could not be rewritten, so no worker writes after the next restart"


def notes(info: Mapping[str, str]) -> str:
    """What `points doctor` says of a Redis without faults."""
    kind, number = version(info)
    told = f"{kind} {number}, noeviction, append-only file"
    if kind == "redis" and number.startswith("7.0."):
        told += f"; its line ended without a release that mends {HOLES}: see that its packager did"
    return told

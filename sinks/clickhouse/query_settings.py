"""Which settings a query may bring along: limits, only downwards, and what changes how results look."""

import math
import re

from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.nameable import SETTINGS

MAX_EXECUTION_TIME_S = 5  # the archive's inserts wait for a running query: they share its thread
LIMITS: dict[str, float] = {
    "max_execution_time": MAX_EXECUTION_TIME_S,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 64 << 20,
    "max_memory_usage": 2 << 30,
}
_LIMITS_OF_THE_ENGINE = {
    "max_block_size": 65_409,
    "max_bytes_to_read": math.inf,
    "max_rows_to_read": math.inf,
}
_OVERFLOW = "result_overflow_mode"
_FIXED = {
    _OVERFLOW: "throw",
    "timeout_overflow_mode": "throw",
    "read_overflow_mode": "throw",
    "print_pretty_type_names": "0",  # in several lines, which no client expects in a type's name
}
# What clients may change, but that has another value here than in the engine.
_DEFAULTS = {
    "session_timezone": "Asia/Shanghai",  # so that today() is the platform's day
    "output_format_json_quote_64bit_integers": "1",  # JavaScript rounds larger numbers than 2^53
}
_MEANING_NOTHING = {"async_insert", "log_queries"}  # nothing is inserted, and the log of queries is ours
_VALUE = re.compile(r"[^'\\\x00-\x08\x0a-\x1f\x7f]{0,200}")  # nothing that could end a text in quotes
_CANNOT_PARSE_NUMBER, _BAD_ARGUMENTS, _UNKNOWN_SETTING, _READONLY = 72, 36, 115, 164


def settings_of_query(given: dict[str, str], present: dict[str, str]) -> dict[str, str]:
    """All settings that a query runs with, when its sender asked for `given`.

    A limit above ours is ours: clients send their own time-out as `max_execution_time`, however long it is.
    `present` are all settings of the engine with the values that they have without any given: one that is
    given with that value is taken. Raises `QueryRefused` with ClickHouse's code: unknown, or not allowed.
    """
    wanted: dict[str, object] = {**LIMITS, **_DEFAULTS}
    for name, value in given.items():
        if name not in present:
            message = f"Setting {name} is neither a builtin setting nor a user-defined one"
            raise QueryRefused.of(_UNKNOWN_SETTING, "UNKNOWN_SETTING", message)
        if name in LIMITS or name in _LIMITS_OF_THE_ENGINE:
            if limit := _number(name, value):  # 0 asks for none
                wanted[name] = min(limit, {**LIMITS, **_LIMITS_OF_THE_ENGINE}[name])
        elif name in SETTINGS:
            wanted[name] = _quotable(name, value)
        elif not _changes_nothing(name, value, present[name]):
            message = f"Cannot modify '{name}' setting in readonly mode"
            raise QueryRefused.of(_READONLY, "READONLY", message)
    settings = {name: str(value) for name, value in wanted.items()}
    if given.get(_OVERFLOW) == "break" and settings["max_result_rows"] != str(LIMITS["max_result_rows"]):
        # Who asks for the first rows alone gets them, in whole blocks, so these are made small. Our own limit
        # never cuts an answer without a word: the bytes, which fall under the same mode, are counted then.
        block = {"max_block_size": settings.get("max_block_size") or settings["max_result_rows"]}
        more = {**block, **_FIXED, _OVERFLOW: "break", "max_result_bytes": "0"}
        return {**settings, **more, "readonly": "1"}
    return {**settings, **_FIXED, "readonly": "1"}  # last: from here on they stand


def _changes_nothing(name: str, value: str, present: str) -> bool:
    if name == "readonly":
        return value in ("1", "2")
    if name == _OVERFLOW and value == "break":
        return True
    return name in _MEANING_NOTHING or _plain(value) == _plain(present)


def _plain(value: str) -> str:
    return {"true": "1", "false": "0"}.get(value.lower(), value)


def _number(name: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,6})?", value, re.ASCII):
        message = f"Cannot parse the value of setting {name}"
        raise QueryRefused.of(_CANNOT_PARSE_NUMBER, "CANNOT_PARSE_NUMBER", message)
    return float(value) if "." in value else int(value)


def _quotable(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value):
        message = f"The value of setting {name} has characters that are not accepted here"
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", message)
    return value

"""Which settings a query may bring along: limits, only downwards, and what changes how results look."""

import math
import re

from sinks.clickhouse.errors import QueryRefused

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
_FIXED = {
    "result_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
    "read_overflow_mode": "throw",
    "print_pretty_type_names": "0",  # in several lines, which no client expects in a type's name
}
# Named one by one: `output_format_schema`, say, writes a file.
HARMLESS = {
    "cast_string_to_dynamic_use_inference", "date_time_input_format", "date_time_output_format",
    "format_csv_delimiter", "join_use_nulls", "limit", "log_comment", "offset",
    "output_format_arrow_compression_method", "output_format_arrow_string_as_string",
    "output_format_decimal_trailing_zeros", "output_format_json_array_of_rows",
    "output_format_json_named_tuples_as_objects", "output_format_json_quote_64bit_floats",
    "output_format_json_quote_64bit_integers", "output_format_json_quote_decimals",
    "output_format_json_quote_denormals", "output_format_parquet_compression_method",
    "output_format_parquet_string_as_string", "output_format_write_statistics", "session_timezone",
}  # fmt: skip
_VALUE = re.compile(r"[^'\\\x00-\x08\x0a-\x1f\x7f]{0,200}")  # nothing that could end a text in quotes
_CANNOT_PARSE_NUMBER, _BAD_ARGUMENTS, _UNKNOWN_SETTING, _READONLY = 72, 36, 115, 164


def settings_of_query(given: dict[str, str], known: set[str]) -> dict[str, str]:
    """All settings that a query runs with, when its sender asked for `given`.

    A limit above ours is ours: clients send their own time-out as `max_execution_time`, however long it is.
    `known` are the engine's settings. Raises `QueryRefused` with ClickHouse's code: unknown, or not allowed.
    """
    wanted: dict[str, object] = dict(LIMITS)
    for name, value in given.items():
        if name not in known:
            message = f"Setting {name} is neither a builtin setting nor a user-defined one"
            raise QueryRefused.of(_UNKNOWN_SETTING, "UNKNOWN_SETTING", message)
        if name in LIMITS or name in _LIMITS_OF_THE_ENGINE:
            if limit := _number(name, value):  # 0 asks for none
                wanted[name] = min(limit, {**LIMITS, **_LIMITS_OF_THE_ENGINE}[name])
        elif name in HARMLESS:
            wanted[name] = _quotable(name, value)
        elif (name, value) not in (("readonly", "1"), ("readonly", "2")):
            message = f"Cannot modify '{name}' setting in readonly mode"
            raise QueryRefused.of(_READONLY, "READONLY", message)
    settings = {name: str(value) for name, value in wanted.items()}
    return {**settings, **_FIXED, "readonly": "1"}  # last: from here on they stand


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
